/* What a causal 3x3 convolution sees of each pixel, side by side: a row of a matrix.

   z: (images, height, width, channels); rows: (images, height, width, 5 channels). Five of the nine
   pixels are seen: the row above and the pixel before, then the pixel itself; mirrored, the pixel
   itself and the one after it, then the row below. Outside of the image there are zeros. */

#include <string.h>

#include "kernels.h"

#define LINE 3 /* pixels of the other row that are seen, */
#define PAIR 2 /* and of the own row */

/* Pixels from `column` of a row of z; a row that is outside is missing. */
INLINE void copy_pixels(const float *z_row, float *to, long column, long count, long width,
                        long channels)
{
    for (long i = 0; i < count; i++) {
        const int is_inside = z_row && column + i >= 0 && column + i < width;
        for (long c = 0; c < channels; c++)
            to[i * channels + c] = is_inside ? z_row[(column + i) * channels + c] : 0.0f;
    }
}

INLINE void copy_line(const float *z_row, float *rows, long offset, long first, long count,
                      long width, long channels)
{
    const long stride = (LINE + PAIR) * channels;
    for (long column = 0; column < width; column++) {
        float *to = rows + column * stride + offset;
        if (z_row && column + first >= 0 && column + first + count <= width)
            for (long i = 0; i < count * channels; i++)
                to[i] = z_row[(column + first) * channels + i];
        else
            copy_pixels(z_row, to, column + first, count, width, channels);
    }
}

FOR_EACH_CPU void gather_causal(const float *z, float *rows, long images, long height, long width,
                                long channels, int is_mirrored)
{
    const long row_size = width * channels;
    for (long line = 0; line < images * height; line++) {
        const long row = line % height, other = is_mirrored ? row + 1 : row - 1;
        const float *own = z + line * row_size;
        const float *beside = other < 0 || other >= height ? NULL : own + (other - row) * row_size;
        float *to = rows + line * row_size * (LINE + PAIR);
        copy_line(beside, to, is_mirrored ? PAIR * channels : 0, -1, LINE, width, channels);
        copy_line(own, to, is_mirrored ? 0 : LINE * channels, is_mirrored ? 0 : -1, PAIR, width,
                  channels);
    }
}
