/* What forward and backward pass of a normalized depthwise convolution have in common.

   Image by image and block of channels by block, normalized rows are kept in a ring of as many rows as
   the convolution sees, with zeros around them; they are never written to memory. */

#ifndef NVAE_ROWS_H
#define NVAE_ROWS_H

#include <string.h>

#include "normalization.h"

#define LANES 16
#define KERNEL 5
#define TAPS (KERNEL * KERNEL)
#define RADIUS (KERNEL / 2)
#define COLUMNS 8 /* of a row, that are computed at once */

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));
typedef double exact_lanes __attribute__((vector_size(8 * LANES), aligned(8)));

/* Macros, since a function cannot return lanes that not every CPU has. */
#define LOAD(address) (*(const lanes *)(address))
#define STORE(address, value) (*(lanes *)(address) = (value))
#define ADD_EXACTLY(address, value)                                                                \
    (*(exact_lanes *)(address) += __builtin_convertvector(value, exact_lanes))

struct shape {
    long batch, height, width, channels, upsampling;
};

/* Whole blocks of channels, and a last one that overlaps the one before it. */
INLINE long num_blocks(long channels)
{
    return (channels + LANES - 1) / LANES;
}

INLINE long first_channel(long block, long channels)
{
    return (block + 1) * LANES <= channels ? block * LANES : channels - LANES;
}

/* (channels, 5, 5) to (blocks, 25, lanes). */
INLINE void pack(const float *weight, float *packed, long channels, int is_turned)
{
    for (long block = 0; block < num_blocks(channels); block++)
        for (int tap = 0; tap < TAPS; tap++)
            for (int lane = 0; lane < LANES; lane++)
                packed[(block * TAPS + tap) * LANES + lane] =
                    weight[(first_channel(block, channels) + lane) * TAPS +
                           (is_turned ? TAPS - 1 - tap : tap)];
}

/* Rows of one image and block of channels, (5, width + 4, lanes): row r is slot r mod 5. */
struct ring {
    float *rows;
    long width;
};

INLINE float *ring_row(struct ring ring, long row)
{
    return ring.rows + (row + KERNEL) % KERNEL * (ring.width + 2 * RADIUS) * LANES;
}

INLINE void clear_ring(struct ring ring)
{
    memset(ring.rows, 0, sizeof(float) * KERNEL * (ring.width + 2 * RADIUS) * LANES);
}

INLINE void clear_row(struct ring ring, long row)
{
    memset(ring_row(ring, row), 0, sizeof(float) * (ring.width + 2 * RADIUS) * LANES);
}

/* sums = the convolution's output at `count` columns of a row: as many chains of additions. */
INLINE void convolve_columns(const float *const *rows, const float *packed, float *sums, int count)
{
    lanes part[COLUMNS];
    memset(part, 0, sizeof part);
    for (int i = 0; i < KERNEL; i++)
        for (int j = 0; j < KERNEL; j++) {
            const lanes w = LOAD(packed + (i * KERNEL + j) * LANES);
            for (int n = 0; n < count; n++)
                part[n] += w * LOAD(rows[i] + (j + n) * LANES);
        }
    for (int n = 0; n < count; n++)
        STORE(sums + n * LANES, part[n]);
}

/* sums[column] = the convolution's output at each column of a row. */
INLINE void convolve_row(struct ring ring, long row, const float *packed, float *sums)
{
    const float *rows[KERNEL];
    for (int i = 0; i < KERNEL; i++)
        rows[i] = ring_row(ring, row + i - RADIUS);
    for (long column = 0; column < ring.width;) {
        const long left = ring.width - column;
        const int count = left >= COLUMNS ? COLUMNS : left >= COLUMNS / 2 ? COLUMNS / 2 : 1;
        if (count == COLUMNS)
            convolve_columns(rows, packed, sums + column * LANES, COLUMNS);
        else if (count == COLUMNS / 2)
            convolve_columns(rows, packed, sums + column * LANES, COLUMNS / 2);
        else
            convolve_columns(rows, packed, sums + column * LANES, 1);
        for (int i = 0; i < KERNEL; i++)
            rows[i] += count * LANES;
        column += count;
    }
}

/* Values in a row, so that the compiler vectorizes. */
INLINE void activate_values(float *values, long count, enum activation activation)
{
    if (activation == IDENTITY)
        return;
    for (long i = 0; i < count; i++)
        values[i] = activate(values[i], activation);
}

/* The normalized, activated and upsampled row of an image x (height, width, channels). */
INLINE void load_row(struct ring ring, long row, const float *x, struct shape shape,
                     const float *scale, const float *shift, enum activation activation)
{
    if (row >= shape.height) {
        clear_row(ring, row);
        return;
    }
    if (row % shape.upsampling) {
        memcpy(ring_row(ring, row), ring_row(ring, row - 1),
               sizeof(float) * (ring.width + 2 * RADIUS) * LANES);
        return;
    }
    float *target = ring_row(ring, row) + RADIUS * LANES;
    const long width = shape.width / shape.upsampling;
    const long row_size = width * shape.channels;
    const float *source = x + row / shape.upsampling * row_size;
    const lanes by = LOAD(scale), plus = LOAD(shift);
    for (long column = 0; column < width; column++) {
        const float *at = source + column * shape.channels;
        __builtin_prefetch(at + row_size); /* a block of channels is not what hardware expects */
        STORE(target + column * LANES, by * LOAD(at) + plus);
    }
    activate_values(target, width * LANES, activation);
    if (shape.upsampling == 2)
        for (long column = width - 1; column >= 0; column--) { /* nothing unread is overwritten */
            const lanes value = LOAD(target + column * LANES);
            STORE(target + 2 * column * LANES, value);
            STORE(target + (2 * column + 1) * LANES, value);
        }
}

enum middle { OF_CELL = 0, OF_TRANSFORM = 1 };

/* What is constant lets the compiler vectorize. */
#define WITH_ACTIVATIONS(function, ...)                                                            \
    if (middle == OF_CELL)                                                                         \
        function(__VA_ARGS__, SWISH, SWISH);                                                       \
    else                                                                                           \
        function(__VA_ARGS__, ELU, ELU_TWICE);

#endif
