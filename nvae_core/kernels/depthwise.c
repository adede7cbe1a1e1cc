/* Depthwise convolution of a 5x5 kernel, stride 1 and padding 2, and the gradient of its weight.

   x, y: (batch, height, width, channels), with at least as many channels as lanes. */

#include <string.h>

#include "kernels.h"

#define LANES 16
#define KERNEL 5
#define RADIUS (KERNEL / 2)
#define COLUMNS 4 /* of the output, that are computed at once */

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

/* Macros, since a function cannot return lanes that not every CPU has. */
#define LOAD(address) (*(const lanes *)(address))
#define STORE(address, value) (*(lanes *)(address) = (value))

/* Whole blocks of channels, and a last one that overlaps the one before it. */
#define FOR_EACH_BLOCK(channel, channels)                                                          \
    for (long next = 0, channel;                                                                   \
         next < channels &&                                                                        \
         (channel = next + LANES <= channels ? next : channels - LANES, 1);                        \
         next += LANES)

/* The rows or columns of the kernel that lie within the image. */
INLINE long first_within(long position)
{
    return position < RADIUS ? RADIUS - position : 0;
}

INLINE long end_within(long position, long size)
{
    return position + RADIUS < size ? KERNEL : size - position + RADIUS;
}

INLINE void convolve_pixel(const float *x, const float *weight, float *y, long top, long bottom,
                           long column, long width, long channels)
{
    const long left = first_within(column), right = end_within(column, width);
    lanes sum = {0.0f};
    for (long i = top; i < bottom; i++)
        for (long j = left; j < right; j++)
            sum += LOAD(weight + (i * KERNEL + j) * LANES) *
                   LOAD(x + ((i - RADIUS) * width + column + j - RADIUS) * channels);
    STORE(y + column * channels, sum);
}

/* COLUMNS pixels, around all of which there is an image: a weight is loaded once for all. */
INLINE void convolve_pixels(const float *x, const float *weight, float *y, long top, long bottom,
                            long column, long width, long channels)
{
    lanes sums[COLUMNS];
    memset(sums, 0, sizeof sums);
    for (long i = top; i < bottom; i++) {
        const float *row = x + ((i - RADIUS) * width + column - RADIUS) * channels;
        for (int j = 0; j < KERNEL; j++) {
            const lanes w = LOAD(weight + (i * KERNEL + j) * LANES);
            for (int n = 0; n < COLUMNS; n++)
                sums[n] += w * LOAD(row + (j + n) * channels);
        }
    }
    for (int n = 0; n < COLUMNS; n++)
        STORE(y + (column + n) * channels, sums[n]);
}

/* weight: (channels, 5, 5), used upside down and mirrored if is_turned. */
FOR_EACH_CPU void depthwise_forward(const float *x, const float *weight, float *y, long batch,
                                    long height, long width, long channels, int is_turned)
{
    const long row_size = width * channels;
    FOR_EACH_BLOCK (channel, channels) {
        float by_tap[KERNEL * KERNEL * LANES];
        for (int tap = 0; tap < KERNEL * KERNEL; tap++)
            for (int lane = 0; lane < LANES; lane++)
                by_tap[tap * LANES + lane] =
                    weight[(channel + lane) * KERNEL * KERNEL +
                           (is_turned ? KERNEL * KERNEL - 1 - tap : tap)];
        for (long line = 0; line < batch * height; line++) {
            const long row = line % height;
            const long top = first_within(row), bottom = end_within(row, height);
            const float *x_row = x + line * row_size + channel;
            float *y_row = y + line * row_size + channel;
            long column = 0;
            for (; column < RADIUS && column < width; column++)
                convolve_pixel(x_row, by_tap, y_row, top, bottom, column, width, channels);
            for (; column + COLUMNS + RADIUS <= width; column += COLUMNS)
                convolve_pixels(x_row, by_tap, y_row, top, bottom, column, width, channels);
            for (; column < width; column++)
                convolve_pixel(x_row, by_tap, y_row, top, bottom, column, width, channels);
        }
    }
}

/* weight_gradient: (channels, 5, 5). A block of channels keeps its 25 sums in registers. */
FOR_EACH_CPU void depthwise_weight_gradient(const float *x, const float *gradient,
                                            float *weight_gradient, long batch, long height,
                                            long width, long channels)
{
    const long row_size = width * channels;
    FOR_EACH_BLOCK (channel, channels) {
        lanes sums[KERNEL][KERNEL];
        memset(sums, 0, sizeof sums);
        for (long line = 0; line < batch * height; line++) {
            const long row = line % height;
            const long top = first_within(row), bottom = end_within(row, height);
            const float *x_row = x + line * row_size + channel;
            const float *gradient_row = gradient + line * row_size + channel;
            for (long column = 0; column < width; column++) {
                const lanes g = LOAD(gradient_row + column * channels);
                const float *first =
                    x_row - RADIUS * row_size + (column - RADIUS) * channels;
                const long left = first_within(column), right = end_within(column, width);
                if (top == 0 && bottom == KERNEL && left == 0 && right == KERNEL) {
                    for (int i = 0; i < KERNEL; i++) /* unrolled, as all bounds are known */
                        for (int j = 0; j < KERNEL; j++)
                            sums[i][j] += g * LOAD(first + i * row_size + j * channels);
                } else {
                    for (long i = top; i < bottom; i++)
                        for (long j = left; j < right; j++)
                            sums[i][j] += g * LOAD(first + i * row_size + j * channels);
                }
            }
        }
        for (int lane = 0; lane < LANES; lane++)
            for (int i = 0; i < KERNEL; i++)
                for (int j = 0; j < KERNEL; j++)
                    weight_gradient[((channel + lane) * KERNEL + i) * KERNEL + j] =
                        sums[i][j][lane];
    }
}
