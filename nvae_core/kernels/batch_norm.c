/* Batch norm followed by an activation, forward and backward.

   x is (rows, channels): a channels_last tensor. Channels are handled in blocks, all passes over one
   block before the next, so that a block is read from memory once and then from the cache. */

#include <math.h>

#include "kernels.h"

#define CHUNK 128 /* rows whose sums are taken in float before they are added in double */
#define WIDE 64   /* channels in a block; what is left goes in blocks of NARROW, and then at once */
#define NARROW 16

enum activation { IDENTITY = 0, SWISH = 1, ELU = 2 };

/* exp(x) by 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]; relative error below 2e-7. */
INLINE float exponential(float x)
{
    x = -87.0f > x ? -87.0f : x; /* the processor's own maximum and minimum; NaN stays NaN */
    x = 87.0f < x ? 87.0f : x;
    const float shifted = x * 1.44269504f + 12582912.0f; /* 1.5 * 2^23 rounds to a whole number */
    const float n = shifted - 12582912.0f;
    const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const union { int i; float f; } power = {.i = ((int)n + 127) << 23};
    return p * power.f;
}

INLINE float sigmoid(float x)
{
    const float e = exponential(x);
    return e / (1.0f + e);
}

INLINE float activate(float z, enum activation activation)
{
    if (activation == SWISH)
        return z * sigmoid(z);
    if (activation == ELU)
        return z > 0.0f ? z : exponential(z) - 1.0f;
    return z;
}

INLINE float slope(float z, enum activation activation)
{
    if (activation == SWISH) {
        const float gate = sigmoid(z);
        return gate * (1.0f + z * (1.0f - gate));
    }
    if (activation == ELU)
        return z > 0.0f ? 1.0f : exponential(z);
    return 1.0f;
}

/* What is known of the channels of a block, and the sums that are taken over its rows. */
struct block {
    float scale[WIDE], shift[WIDE], center[WIDE];
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
        for (long row = start; row < end; row++)
            for (int c = 0; c < width; c++) {
                const float value = x[row * stride + c] - block->center[c];
                block->chunk[0][c] += value;
                block->chunk[1][c] += value * value;
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

/* z = scale x + shift normalizes x. */
INLINE void take_scale(struct block *block, const float *weight, const float *bias,
                       const float *mean, const float *variance, float epsilon, int width)
{
    for (int c = 0; c < width; c++) {
        block->scale[c] = weight[c] / sqrtf(variance[c] + epsilon);
        block->shift[c] = bias[c] - mean[c] * block->scale[c];
        block->center[c] = mean[c];
    }
}

INLINE void write_output(const struct block *block, const float *x, float *y, long rows,
                         long stride, int width, enum activation activation)
{
    for (long row = 0; row < rows; row++)
        for (int c = 0; c < width; c++)
            y[row * stride + c] =
                activate(x[row * stride + c] * block->scale[c] + block->shift[c], activation);
}

/* t = gradient of z; sums of t and of t (x - mean). */
INLINE void sum_gradients(struct block *block, const float *x, const float *gradient, float *t,
                          long rows, long stride, int width, enum activation activation)
{
    start_sums(block, width);
    for (long start = 0; start < rows; start += CHUNK) {
        const long end = start + CHUNK <= rows ? start + CHUNK : rows;
        for (long row = start; row < end; row++)
            for (int c = 0; c < width; c++) {
                const long at = row * stride + c;
                const float z = x[at] * block->scale[c] + block->shift[c];
                const float value = gradient[at] * slope(z, activation);
                t[at] = value;
                block->chunk[0][c] += value;
                block->chunk[1][c] += value * (x[at] - block->center[c]);
            }
        end_chunk(block, width);
    }
}

/* Gradient of x from that of z, with what goes through the statistics of count rows. */
INLINE void write_gradient(const struct block *block, const float *x, float *t, const float *sum,
                           const float *sum_x, const float *variance, float epsilon, double count,
                           long rows, long stride, int width)
{
    float by_x[WIDE], constant[WIDE];
    for (int c = 0; c < width; c++) {
        const double mean_x = sum_x[c] / (count * ((double)variance[c] + epsilon));
        by_x[c] = (float)(-block->scale[c] * mean_x);
        constant[c] = (float)(block->scale[c] * (block->center[c] * mean_x - sum[c] / count));
    }
    for (long row = 0; row < rows; row++)
        for (int c = 0; c < width; c++) {
            const long at = row * stride + c;
            t[at] = block->scale[c] * t[at] + by_x[c] * x[at] + constant[c];
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
    else                                                                                           \
        function(__VA_ARGS__, IDENTITY);

/* Mean and biased variance of each channel. */
FOR_EACH_CPU void batch_norm_moments(const float *x, float *mean, float *variance, long rows,
                                     long channels)
{
    FOR_EACH_BLOCK(sum_moments(&block, x + first, rows, channels, width);
                   take_moments(&block, mean + first, variance + first, rows, width))
}

INLINE void forward(const float *x, const float *weight, const float *bias, const float *mean,
                    const float *variance, float epsilon, float *y, long rows, long channels,
                    enum activation activation)
{
    FOR_EACH_BLOCK(take_scale(&block, weight + first, bias + first, mean + first, variance + first,
                              epsilon, width);
                   write_output(&block, x + first, y + first, rows, channels, width, activation))
}

/* y = activation of the normalized x. */
FOR_EACH_CPU void batch_norm_forward(const float *x, const float *weight, const float *bias,
                                     const float *mean, const float *variance, float epsilon,
                                     float *y, long rows, long channels, int activation)
{
    FOR_EACH_ACTIVATION(forward, x, weight, bias, mean, variance, epsilon, y, rows, channels)
}

INLINE void backward(const float *x, const float *gradient, const float *weight, const float *bias,
                     const float *mean, const float *variance, float epsilon, float *t, float *sum,
                     float *sum_x, long rows, long channels, int is_whole,
                     enum activation activation)
{
    FOR_EACH_BLOCK(
        take_scale(&block, weight + first, bias + first, mean + first, variance + first, epsilon,
                   width);
        sum_gradients(&block, x + first, gradient + first, t + first, rows, channels, width,
                      activation);
        for (int c = 0; c < width; c++) {
            sum[first + c] = (float)block.sums[0][c];
            sum_x[first + c] = (float)block.sums[1][c];
        }
        if (is_whole)
            write_gradient(&block, x + first, t + first, sum + first, sum_x + first,
                           variance + first, epsilon, rows, rows, channels, width))
}

/* t: gradient of x if these rows are the whole batch, else that of scale x + shift, which
   batch_norm_finish turns into it; per channel the sums of the latter and of it times x - mean. */
FOR_EACH_CPU void batch_norm_backward(const float *x, const float *gradient, const float *weight,
                                      const float *bias, const float *mean, const float *variance,
                                      float epsilon, float *t, float *sum, float *sum_x, long rows,
                                      long channels, int is_whole, int activation)
{
    FOR_EACH_ACTIVATION(backward, x, gradient, weight, bias, mean, variance, epsilon, t, sum, sum_x,
                        rows, channels, is_whole)
}

/* The second half of batch_norm_backward, with the sums over count rows of all ranks. */
FOR_EACH_CPU void batch_norm_finish(const float *x, const float *weight, const float *bias,
                                    const float *mean, const float *variance, float epsilon,
                                    float *t, const float *sum, const float *sum_x, long count,
                                    long rows, long channels)
{
    FOR_EACH_BLOCK(take_scale(&block, weight + first, bias + first, mean + first, variance + first,
                              epsilon, width);
                   write_gradient(&block, x + first, t + first, sum + first, sum_x + first,
                                  variance + first, epsilon, count, rows, channels, width))
}
