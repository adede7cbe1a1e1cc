/* Batch norm followed by an activation, forward and backward.

   x is (rows, channels): a channels_last tensor. Channels are handled in blocks, all passes over one
   block before the next, so that a block is read from memory once and then from the cache. */

#include "normalization.h"

#define CHUNK 128 /* rows whose sums are taken in float before they are added in double */
#define WIDE 64   /* channels in a block; what is left goes in blocks of NARROW, and then at once */
#define NARROW 16
#define AHEAD 24 /* rows */

/* Fetch a row that comes soon: while values are computed the processor looks few rows ahead. */
INLINE void prefetch(const float *x, long row, long stride, int width)
{
    for (int c = 0; c < width; c += 16)
        __builtin_prefetch(x + (row + AHEAD) * stride + c);
}

/* What is known of the channels of a block, and the sums that are taken over its rows. */
struct block {
    float scale[WIDE], shift[WIDE], center[WIDE], by_x[WIDE], constant[WIDE];
    float chunk[2][WIDE];
    double sums[2][WIDE];
};

INLINE void start_sums(struct block *block, int width)
{
    for (int which = 0; which < 2; which++)
        for (int c = 0; c < width; c++) {
            block->chunk[which][c] = 0.0f;
            block->sums[which][c] = 0.0;
        }
}

INLINE void end_chunk(struct block *block, int width)
{
    for (int which = 0; which < 2; which++)
        for (int c = 0; c < width; c++) {
            block->sums[which][c] += block->chunk[which][c];
            block->chunk[which][c] = 0.0f;
        }
}

/* Sums of x - center and of its square: the center is the first row, so that a mean far from 0
   costs no digits. */
INLINE void sum_moments(struct block *block, const float *x, long rows, long stride, int width)
{
    start_sums(block, width);
    for (int c = 0; c < width; c++)
        block->center[c] = x[c];
    for (long start = 0; start < rows; start += CHUNK) {
        const long end = start + CHUNK <= rows ? start + CHUNK : rows;
        for (long row = start; row < end; row++) {
            prefetch(x, row, stride, width);
            for (int c = 0; c < width; c++) {
                const float value = x[row * stride + c] - block->center[c];
                block->chunk[0][c] += value;
                block->chunk[1][c] += value * value;
            }
        }
        end_chunk(block, width);
    }
}

INLINE void take_moments(const struct block *block, float *mean, float *variance, long rows,
                         int width)
{
    for (int c = 0; c < width; c++) {
        const double offset = block->sums[0][c] / rows;
        const double spread = block->sums[1][c] / rows - offset * offset;
        mean[c] = (float)(block->center[c] + offset);
        variance[c] = (float)(spread > 0.0 ? spread : 0.0);
    }
}

INLINE void write_output(const struct block *restrict block, const float *restrict x,
                         float *restrict y, long rows,
                         long stride, int width, enum activation activation)
{
    for (long row = 0; row < rows; row++) {
        prefetch(x, row, stride, width);
        for (int c = 0; c < width; c++)
            y[row * stride + c] =
                activate(x[row * stride + c] * block->scale[c] + block->shift[c], activation);
    }
}

/* Sums of t, the gradient of z, and of t (x - mean). */
INLINE void sum_gradients(struct block *restrict block, const float *restrict x,
                          const float *restrict gradient, long rows,
                          long stride, int width, enum activation activation)
{
    start_sums(block, width);
    for (long start = 0; start < rows; start += CHUNK) {
        const long end = start + CHUNK <= rows ? start + CHUNK : rows;
        for (long row = start; row < end; row++) {
            prefetch(x, row, stride, width);
            prefetch(gradient, row, stride, width);
            for (int c = 0; c < width; c++) {
                const long at = row * stride + c;
                const float z = x[at] * block->scale[c] + block->shift[c];
                const float t = gradient[at] * slope(z, activation);
                block->chunk[0][c] += t;
                block->chunk[1][c] += t * (x[at] - block->center[c]);
            }
        }
        end_chunk(block, width);
    }
}

/* Gradient of x. t is computed again: that takes less time than to write and to read it. */
INLINE void write_gradient(const struct block *restrict block, const float *restrict x,
                           const float *restrict gradient, float *restrict x_gradient, long rows, long stride, int width,
                           enum activation activation)
{
    for (long row = 0; row < rows; row++) {
        prefetch(x, row, stride, width);
        prefetch(gradient, row, stride, width);
        for (int c = 0; c < width; c++) {
            const long at = row * stride + c;
            const float z = x[at] * block->scale[c] + block->shift[c];
            const float t = gradient[at] * slope(z, activation);
            x_gradient[at] = block->scale[c] * t + block->by_x[c] * x[at] + block->constant[c];
        }
    }
}

/* The three ways to treat a block: what is constant lets the compiler vectorize. */
#define FOR_EACH_BLOCK(...)                                                                        \
    for (long first = 0; first < channels;) {                                                      \
        struct block block;                                                                        \
        if (channels - first >= WIDE) {                                                            \
            enum { width = WIDE };                                                                 \
            __VA_ARGS__;                                                                           \
            first += WIDE;                                                                         \
        } else if (channels - first >= NARROW) {                                                   \
            enum { width = NARROW };                                                               \
            __VA_ARGS__;                                                                           \
            first += NARROW;                                                                       \
        } else {                                                                                   \
            const int width = (int)(channels - first);                                             \
            __VA_ARGS__;                                                                           \
            first = channels;                                                                      \
        }                                                                                          \
    }
#define FOR_EACH_ACTIVATION(function, ...)                                                         \
    if (activation == SWISH)                                                                       \
        function(__VA_ARGS__, SWISH);                                                              \
    else if (activation == ELU)                                                                    \
        function(__VA_ARGS__, ELU);                                                                \
    else if (activation == ELU_TWICE)                                                              \
        function(__VA_ARGS__, ELU_TWICE);                                                          \
    else                                                                                           \
        function(__VA_ARGS__, IDENTITY);

/* Mean and biased variance of each channel. */
FOR_EACH_CPU void batch_norm_moments(const float *x, float *mean, float *variance, long rows,
                                     long channels)
{
    FOR_EACH_BLOCK(sum_moments(&block, x + first, rows, channels, width);
                   take_moments(&block, mean + first, variance + first, rows, width))
}

INLINE void forward(const float *x, struct normalization norm, float *y, long rows, long channels,
                    enum activation activation)
{
    FOR_EACH_BLOCK(take_scale(norm, first, block.scale, block.shift, width);
                   write_output(&block, x + first, y + first, rows, channels, width, activation))
}

/* y = activation of the normalized x. */
FOR_EACH_CPU void batch_norm_forward(const float *x, const float *weight, const float *bias,
                                     const float *mean, const float *variance, float epsilon,
                                     float *y, long rows, long channels, int activation)
{
    const struct normalization norm = {weight, bias, mean, variance, epsilon};
    FOR_EACH_ACTIVATION(forward, x, norm, y, rows, channels)
}

INLINE void backward(const float *x, const float *gradient, struct normalization norm,
                     float *x_gradient, float *sum, float *sum_x, long rows, long channels,
                     enum activation activation)
{
    FOR_EACH_BLOCK(
        take_scale(norm, first, block.scale, block.shift, width);
        for (int c = 0; c < width; c++)
            block.center[c] = norm.mean[first + c];
        sum_gradients(&block, x + first, gradient + first, rows, channels, width, activation);
        for (int c = 0; c < width; c++) {
            sum[first + c] = (float)block.sums[0][c];
            sum_x[first + c] = (float)block.sums[1][c];
        }
        if (x_gradient) {
            take_gradient_terms(norm, first, block.scale, sum, sum_x, rows, block.by_x,
                                block.constant, width);
            write_gradient(&block, x + first, gradient + first, x_gradient + first, rows, channels,
                           width, activation);
        })
}

/* Per channel the sums of t, the gradient of scale x + shift, and of t (x - mean); and the gradient
   of x where it is asked for, if these rows are the whole batch. */
FOR_EACH_CPU void batch_norm_backward(const float *x, const float *gradient, const float *weight,
                                      const float *bias, const float *mean, const float *variance,
                                      float epsilon, float *x_gradient, float *sum, float *sum_x,
                                      long rows, long channels, int activation)
{
    const struct normalization norm = {weight, bias, mean, variance, epsilon};
    FOR_EACH_ACTIVATION(backward, x, gradient, norm, x_gradient, sum, sum_x, rows, channels)
}

INLINE void finish(const float *x, const float *gradient, struct normalization norm,
                   float *x_gradient, const float *sum, const float *sum_x, long count, long rows,
                   long channels, enum activation activation)
{
    FOR_EACH_BLOCK(take_scale(norm, first, block.scale, block.shift, width);
                   take_gradient_terms(norm, first, block.scale, sum, sum_x, count, block.by_x,
                                       block.constant, width);
                   write_gradient(&block, x + first, gradient + first, x_gradient + first, rows,
                                  channels, width, activation))
}

/* The gradient of x, with the sums over count rows of all ranks. */
FOR_EACH_CPU void batch_norm_finish(const float *x, const float *gradient, const float *weight,
                                    const float *bias, const float *mean, const float *variance,
                                    float epsilon, float *x_gradient, const float *sum,
                                    const float *sum_x, long count, long rows, long channels,
                                    int activation)
{
    const struct normalization norm = {weight, bias, mean, variance, epsilon};
    FOR_EACH_ACTIVATION(finish, x, gradient, norm, x_gradient, sum, sum_x, count, rows, channels)
}
