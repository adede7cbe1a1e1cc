/* Sums over the pixels of each image and channel. */

#include "kernels.h"

#define WIDTH 16

/* sums (batch, channels) of a, or of a b where b is given; a, b: (batch, pixels, channels). */
FOR_EACH_CPU void channel_sums(const float *a, const float *b, float *sums, long batch, long pixels,
                               long channels)
{
    for (long image = 0; image < batch; image++)
        for (long first = 0; first < channels; first += WIDTH) {
            const long start = image * pixels * channels + first;
            const int width = first + WIDTH <= channels ? WIDTH : (int)(channels - first);
            float parts[WIDTH] = {0.0f};
            for (long pixel = 0; pixel < pixels; pixel++) {
                const long at = start + pixel * channels;
                if (width == WIDTH)
                    for (int c = 0; c < WIDTH; c++)
                        parts[c] += b ? a[at + c] * b[at + c] : a[at + c];
                else
                    for (int c = 0; c < width; c++)
                        parts[c] += b ? a[at + c] * b[at + c] : a[at + c];
            }
            for (int c = 0; c < width; c++)
                sums[image * channels + first + c] = parts[c];
        }
}
