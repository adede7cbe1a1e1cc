/* Elementary functions besides those of normalization.h, for single values, and sums of values. */

#ifndef NVAE_ELEMENTARY_H
#define NVAE_ELEMENTARY_H

#include "normalization.h"

/* log(x) of a positive normal number, NaN of NaN; relative error below 2e-7.
   x = m 2^e with m in [sqrt(1/2), sqrt(2)); log(1 + f) = f - f^2 / 2 + f^3 P(f). */
INLINE float logarithm(float x)
{
    union { float f; int i; } bits = {.f = x};
    const int e = (bits.i - 0x3f3504f3) >> 23;
    bits.i -= (int)((unsigned)e << 23);
    const float f = bits.f - 1.0f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    const float square = f * f;
    const float small = p * f * square - 2.12194440e-4f * (float)e - 0.5f * square;
    return f + small + 0.693359375f * (float)e + (x - x);
}

/* tanh(x); its series near 0, where the quotient loses digits. */
INLINE float hyperbolic_tangent(float x)
{
    const float square = x * x;
    float p = -5.70498872745e-3f;
    p = p * square + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    const float near = x + x * square * p;
    const float far = 1.0f - 2.0f * sigmoid(-2.0f * x);
    return square < 0.36f ? near : far;
}

INLINE float sum_values(const float *values, long length)
{
    float parts[NUM_PARTS] = {0.0f};
    const long whole = length - length % NUM_PARTS;
    for (long start = 0; start < whole; start += NUM_PARTS)
        for (int part = 0; part < NUM_PARTS; part++)
            parts[part] += values[start + part];
    for (long i = whole; i < length; i++)
        parts[i - whole] += values[i];
    return add_parts(parts);
}

#endif
