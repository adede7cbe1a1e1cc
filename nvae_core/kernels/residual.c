/* The end of a residual cell: skip + factor gate residual. The gate of an image and a channel comes
   from the residual's means over space (squeeze and excitation), and is 1 without hidden units. What
   is given is not yet scaled and shifted per channel, to what the residual is. */

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

/* squeeze, excite: (hidden, channels). */
struct gate {
    const float *squeeze, *squeeze_bias, *excite, *excite_bias;
    long hidden;
};

INLINE void take_gates(struct gate gate, const float *means, float *gates, long channels)
{
    for (long c = 0; c < channels; c++)
        gates[c] = gate.excite_bias[c];
    for (long h = 0; h < gate.hidden; h++) {
        const float squeezed =
            gate.squeeze_bias[h] + dot(gate.squeeze + h * channels, means, channels);
        if (squeezed <= 0.0f) /* NaN goes on */
            continue;
        for (long c = 0; c < channels; c++)
            gates[c] += squeezed * gate.excite[h * channels + c];
    }
    for (long c = 0; c < channels; c++)
        gates[c] = sigmoid(gates[c]);
}

/* given: (images, pixels, channels), becomes the sum. */
FOR_EACH_CPU void add_residual(const float *skip, float *given, const float *scale,
                               const float *shift, const float *squeeze,
                               const float *squeeze_bias, const float *excite,
                               const float *excite_bias, long images, long pixels, long channels,
                               long hidden, float factor)
{
    const struct gate gate = {squeeze, squeeze_bias, excite, excite_bias, hidden};
    float means[channels], gates[channels], by[channels], plus[channels];
    for (long c = 0; c < channels; c++)
        gates[c] = 1.0f;
    for (long image = 0; image < images; image++) {
        const float *from = skip + image * pixels * channels;
        float *to = given + image * pixels * channels;
        if (hidden) {
            take_means(to, by, means, pixels, channels);
            for (long c = 0; c < channels; c++)
                means[c] = scale[c] * means[c] + shift[c];
            take_gates(gate, means, gates, channels);
        }
        for (long c = 0; c < channels; c++) {
            by[c] = factor * gates[c] * scale[c];
            plus[c] = factor * gates[c] * shift[c];
        }
        for (long pixel = 0; pixel < pixels; pixel++)
            for (long c = 0; c < channels; c++) {
                const long at = pixel * channels + c;
                to[at] = from[at] + (by[c] * to[at] + plus[c]);
            }
    }
}
