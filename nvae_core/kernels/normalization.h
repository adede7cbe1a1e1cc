/* Normalization by statistics, the activation after it, and their gradients, for single values. */

#ifndef NVAE_NORMALIZATION_H
#define NVAE_NORMALIZATION_H

#include <math.h>

#include "kernels.h"

enum activation { IDENTITY = 0, SWISH = 1, ELU = 2, ELU_TWICE = 3 };

/* exp(x) by 2^n times a polynomial of degree 5 for 2^r, where n + r = x / ln 2. The relative error is
   below 3e-7 where |x| < 9, and below 2e-6 beyond: that of 1 / ln 2 in float, times x. */
INLINE float exponential(float x)
{
    x = -87.0f > x ? -87.0f : x; /* the processor's own maximum and minimum; NaN stays NaN */
    x = 87.0f < x ? 87.0f : x;
    /* 1.5 * 2^23 rounds to a whole number, which is then in the lowest bits */
    const union { float f; unsigned u; } shifted = {.f = x * 1.44269504f + 12582912.0f};
    const float r = x * 1.44269504f - (shifted.f - 12582912.0f);
    float p = 0.00132646586f;
    p = p * r + 0.00967156608f;
    p = p * r + 0.0555073433f;
    p = p * r + 0.240222409f;
    p = p * r + 0.693147004f;
    union { float f; unsigned u; } power = {.f = p * r + 1.0f};
    power.u += shifted.u << 23; /* n more in the exponent */
    return power.f;
}

/* 1 / x for x from 1 to 1e38: a guess from the exponent, then Newton's method; relative error below
   3e-7. Takes a quarter of the time of a division. */
INLINE float reciprocal(float x)
{
    const union { float f; int i; } bits = {.f = x};
    const union { int i; float f; } guess = {.i = 0x7ef311c7 - bits.i};
    float y = guess.f;
    y = y * (2.0f - x * y);
    y = y * (2.0f - x * y);
    y = y * (2.0f - x * y);
    return y;
}

INLINE float sigmoid(float x)
{
    return reciprocal(1.0f + exponential(-x));
}

INLINE float elu(float z)
{
    return z > 0.0f ? z : exponential(z) - 1.0f;
}

INLINE float activate(float z, enum activation activation)
{
    if (activation == SWISH)
        return z * sigmoid(z);
    if (activation == ELU)
        return elu(z);
    if (activation == ELU_TWICE)
        return elu(elu(z));
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
    if (activation == ELU_TWICE)
        return z > 0.0f ? 1.0f : exponential(z) * exponential(exponential(z) - 1.0f);
    return 1.0f;
}

/* Weight, bias, mean and biased variance of each channel, and what is added to the variance. */
struct normalization {
    const float *weight, *bias, *mean, *variance;
    float epsilon;
};

/* z = scale x + shift normalizes x, for `width` channels from `first`. */
INLINE void take_scale(struct normalization norm, long first, float *scale, float *shift, int width)
{
    for (int c = 0; c < width; c++) {
        scale[c] = norm.weight[first + c] / sqrtf(norm.variance[first + c] + norm.epsilon);
        shift[c] = norm.bias[first + c] - norm.mean[first + c] * scale[c];
    }
}

/* The gradient of x is scale t + by_x x + constant, where t is that of z: what the statistics add
   follows from the sums of t and of t (x - mean) over count rows. */
INLINE void take_gradient_terms(struct normalization norm, long first, const float *scale,
                                const float *sum, const float *sum_x, double count, float *by_x,
                                float *constant, int width)
{
    for (int c = 0; c < width; c++) {
        const double variance = (double)norm.variance[first + c] + norm.epsilon;
        const double mean_x = sum_x[first + c] / (count * variance);
        by_x[c] = (float)(-scale[c] * mean_x);
        constant[c] =
            (float)(scale[c] * (norm.mean[first + c] * mean_x - sum[first + c] / count));
    }
}

#endif
