/* The end of a residual cell: skip + scale gate residual, where the gate of an image and a channel
   comes from the residual's means over space (squeeze and excitation). */

#include "normalization.h"

#define CHUNK 64 /* pixels whose sums are taken before they are added to those so far */

INLINE void take_means(const float *x, float *chunk, float *means, long pixels, long channels)
{
    for (long c = 0; c < channels; c++)
        means[c] = 0.0f;
    for (long start = 0; start < pixels; start += CHUNK) {
        const long end = start + CHUNK <= pixels ? start + CHUNK : pixels;
        for (long c = 0; c < channels; c++)
            chunk[c] = 0.0f;
        for (long pixel = start; pixel < end; pixel++)
            for (long c = 0; c < channels; c++)
                chunk[c] += x[pixel * channels + c];
        for (long c = 0; c < channels; c++)
            means[c] += chunk[c];
    }
    for (long c = 0; c < channels; c++)
        means[c] /= (float)pixels;
}

/* squeeze, excite: (hidden, channels). The gates replace the means. */
INLINE void take_gates(const float *squeeze, const float *squeeze_bias, const float *excite,
                       const float *excite_bias, float *sums, float *means, long hidden,
                       long channels, float scale)
{
    for (long c = 0; c < channels; c++)
        sums[c] = excite_bias[c];
    for (long h = 0; h < hidden; h++) {
        const float squeezed = squeeze_bias[h] + dot(squeeze + h * channels, means, channels);
        if (squeezed <= 0.0f) /* NaN goes on */
            continue;
        for (long c = 0; c < channels; c++)
            sums[c] += squeezed * excite[h * channels + c];
    }
    for (long c = 0; c < channels; c++)
        means[c] = scale * sigmoid(sums[c]);
}

/* residual: (images, pixels, channels), becomes the sum. */
FOR_EACH_CPU void add_residual(const float *skip, float *residual, const float *squeeze,
                               const float *squeeze_bias, const float *excite,
                               const float *excite_bias, long images, long pixels, long channels,
                               long hidden, float scale)
{
    float sums[channels], gates[channels];
    for (long image = 0; image < images; image++) {
        const float *from = skip + image * pixels * channels;
        float *to = residual + image * pixels * channels;
        take_means(to, sums, gates, pixels, channels);
        take_gates(squeeze, squeeze_bias, excite, excite_bias, sums, gates, hidden, channels,
                   scale);
        for (long pixel = 0; pixel < pixels; pixel++)
            for (long c = 0; c < channels; c++) {
                const long at = pixel * channels + c;
                to[at] = from[at] + gates[c] * to[at];
            }
    }
}
