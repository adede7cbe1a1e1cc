/* Gradient of the weight of a depthwise convolution. */

#include <string.h>

#include "kernels.h"

#define LANES 16
#define KERNEL 5
#define RADIUS (KERNEL / 2)

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

/* Macros, since a function cannot return lanes that not every CPU has. */
#define LOAD(address) (*(const lanes *)(address))
#define STORE(address, value) (*(lanes *)(address) = (value))

/* For a 5x5 convolution of stride 1 and padding 2.

   x, gradient: (batch, height, width, channels); weight_gradient: (channels, 5, 5). There are at
   least as many channels as lanes. A block of channels keeps its 25 sums in registers. */
FOR_EACH_CPU void depthwise_weight_gradient(const float *x, const float *gradient,
                                            float *weight_gradient, long batch, long height,
                                            long width, long channels)
{
    const long row_size = width * channels;
    for (long block = 0; block < channels; block += LANES) {
        const long channel = block + LANES <= channels ? block : channels - LANES;
        lanes sums[KERNEL][KERNEL];
        memset(sums, 0, sizeof sums);
        for (long line = 0; line < batch * height; line++) {
            const long row = line % height;
            const long top = row < RADIUS ? RADIUS - row : 0;
            const long bottom = row + RADIUS < height ? KERNEL : height - row + RADIUS;
            const float *x_row = x + line * row_size + channel;
            const float *gradient_row = gradient + line * row_size + channel;
            for (long column = 0; column < width; column++) {
                const lanes g = LOAD(gradient_row + column * channels);
                const float *first =
                    x_row - RADIUS * row_size + (column - RADIUS) * channels;
                const long left = column < RADIUS ? RADIUS - column : 0;
                const long right = column + RADIUS < width ? KERNEL : width - column + RADIUS;
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
