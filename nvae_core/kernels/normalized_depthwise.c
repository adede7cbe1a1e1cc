/* The middle of an inverted residual in few passes over memory: batch norm, activation,
   nearest-neighbour upsampling, depthwise 5x5 convolution, batch norm, activation. And that of an
   autoregressive transform, which has other activations, and whose batch norms change nothing.

   x: (batch, height / upsampling, width / upsampling, channels), y: (batch, height, width,
   channels). Image by image and block of channels by block, normalized rows are kept in a ring of as
   many rows as the convolution sees, with zeros around them; they are never written to memory. */

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

/* Sums over all pixels, of x - center and of its square: the center is the first pixel. */
struct moments {
    double sum[LANES], square[LANES];
    float center[LANES];
};

INLINE void add_moments(struct moments *moments, const float *values, long width, int is_first)
{
    if (is_first) {
        memset(moments, 0, sizeof *moments);
        memcpy(moments->center, values, sizeof moments->center);
    }
    const lanes center = LOAD(moments->center);
    lanes sum = {0.0f}, square = {0.0f};
    for (long column = 0; column < width; column++) {
        const lanes value = LOAD(values + column * LANES) - center;
        sum += value;
        square += value * value;
    }
    ADD_EXACTLY(moments->sum, sum);
    ADD_EXACTLY(moments->square, square);
}

INLINE void take_moments(const struct moments *moments, float *mean, float *variance, double count)
{
    for (int lane = 0; lane < LANES; lane++) {
        const double offset = moments->sum[lane] / count;
        const double spread = moments->square[lane] / count - offset * offset;
        mean[lane] = (float)(moments->center[lane] + offset);
        variance[lane] = (float)(spread > 0.0 ? spread : 0.0);
    }
}

INLINE void store_row(const float *values, float *y, long width, long channels)
{
    for (long column = 0; column < width; column++)
        STORE(y + column * channels, LOAD(values + column * LANES));
}

INLINE void normalize_row(float *values, long width, const float *scale, const float *shift,
                          enum activation activation)
{
    const lanes by = LOAD(scale), plus = LOAD(shift);
    for (long column = 0; column < width; column++)
        STORE(values + column * LANES, by * LOAD(values + column * LANES) + plus);
    activate_values(values, width * LANES, activation);
}

/* Floats of scratch memory that forward and backward need. */
long normalized_depthwise_scratch(long width, long channels)
{
    const long ring = KERNEL * (width + 2 * RADIUS) * LANES, row = width * LANES;
    const long per_block = 2 * TAPS * LANES + 2 * (long)(sizeof(struct moments) / sizeof(float));
    return 2 * ring + 3 * row + num_blocks(channels) * per_block;
}

INLINE void forward(const float *x, struct normalization norm, const float *weight,
                    struct normalization norm_after, float *y, float *mean, float *variance,
                    float *scratch, struct shape shape, enum activation activation,
                    enum activation activation_after)
{
    const long blocks = num_blocks(shape.channels), row_size = shape.width * shape.channels;
    const struct ring ring = {scratch, shape.width};
    struct moments *moments =
        (struct moments *)(scratch + KERNEL * (shape.width + 2 * RADIUS) * LANES);
    float *values = (float *)(moments + blocks), *packed = values + shape.width * LANES;
    const long x_size = row_size * shape.height / (shape.upsampling * shape.upsampling);
    pack(weight, packed, shape.channels, 0);
    for (long image = 0; image < shape.batch; image++)
        for (long block = 0; block < blocks; block++) {
            const long first = first_channel(block, shape.channels);
            const float *x_image = x + image * x_size + first;
            float *y_image = y + image * row_size * shape.height + first;
            float scale[LANES], shift[LANES], scale_after[LANES], shift_after[LANES];
            take_scale(norm, first, scale, shift, LANES);
            if (norm_after.weight)
                take_scale(norm_after, first, scale_after, shift_after, LANES);
            clear_ring(ring);
            for (long row = 0; row < RADIUS; row++)
                load_row(ring, row, x_image, shape, scale, shift, activation);
            for (long row = 0; row < shape.height; row++) {
                load_row(ring, row + RADIUS, x_image, shape, scale, shift, activation);
                convolve_row(ring, row, packed + block * TAPS * LANES, values);
                if (norm_after.weight)
                    normalize_row(values, shape.width, scale_after, shift_after, activation_after);
                else
                    add_moments(moments + block, values, shape.width, image == 0 && row == 0);
                store_row(values, y_image + row * row_size, shape.width, shape.channels);
            }
        }
    if (norm_after.weight)
        return;
    const double count = (double)shape.batch * shape.height * shape.width;
    for (long block = 0; block < blocks; block++) {
        const long first = first_channel(block, shape.channels);
        take_moments(moments + block, mean + first, variance + first, count);
    }
}

enum middle { OF_CELL = 0, OF_TRANSFORM = 1 };

/* What is constant lets the compiler vectorize. */
#define WITH_ACTIVATIONS(function, ...)                                                            \
    if (middle == OF_CELL)                                                                         \
        function(__VA_ARGS__, SWISH, SWISH);                                                       \
    else                                                                                           \
        function(__VA_ARGS__, ELU, ELU_TWICE);

/* y and its moments (channels); or, if weight_after is given, y normalized and activated. */
FOR_EACH_CPU void normalized_depthwise_forward(
    const float *x, const float *norm_weight, const float *norm_bias, const float *norm_mean,
    const float *norm_variance, float epsilon, const float *weight, const float *weight_after,
    const float *bias_after, const float *mean_after, const float *variance_after, float *y,
    float *mean, float *variance, float *scratch, long batch, long height, long width,
    long channels, long upsampling, int middle)
{
    const struct normalization norm = {norm_weight, norm_bias, norm_mean, norm_variance, epsilon};
    const struct normalization norm_after = {weight_after, bias_after, mean_after, variance_after,
                                             epsilon};
    const struct shape shape = {batch, height, width, channels, upsampling};
    WITH_ACTIVATIONS(forward, x, norm, weight, norm_after, y, mean, variance, scratch, shape)
}

/* y, what follows from it, and the gradient of that. */
struct output {
    const float *y, *gradient;
    float scale[LANES], shift[LANES], by_y[LANES], constant[LANES];
};

/* The row of the gradient of y. */
INLINE void load_gradient(struct ring ring, long row, const struct output *output,
                          struct shape shape, float *slopes, enum activation activation)
{
    if (row >= shape.height) {
        clear_row(ring, row);
        return;
    }
    const long row_size = shape.width * shape.channels;
    const float *y = output->y + row * row_size, *gradient = output->gradient + row * row_size;
    const lanes scale = LOAD(output->scale), shift = LOAD(output->shift);
    for (long column = 0; column < shape.width; column++) {
        __builtin_prefetch(y + row_size + column * shape.channels);
        STORE(slopes + column * LANES, scale * LOAD(y + column * shape.channels) + shift);
    }
    for (long i = 0; i < shape.width * LANES; i++)
        slopes[i] = slope(slopes[i], activation);
    float *target = ring_row(ring, row) + RADIUS * LANES;
    const lanes by_y = LOAD(output->by_y), constant = LOAD(output->constant);
    for (long column = 0; column < shape.width; column++) {
        const long at = column * shape.channels;
        __builtin_prefetch(gradient + row_size + at);
        const lanes t = LOAD(gradient + at) * LOAD(slopes + column * LANES);
        STORE(target + column * LANES, scale * t + by_y * LOAD(y + at) + constant);
    }
}

/* Add one row's part of the weight's gradient; the 25 sums are in registers for the whole row. */
INLINE void add_weight_gradient(struct ring gradients, struct ring inputs, long row, float *sums)
{
    const float *rows[KERNEL], *g_row = ring_row(gradients, row) + RADIUS * LANES;
    lanes part[TAPS];
    memcpy(part, sums, sizeof part);
    for (int i = 0; i < KERNEL; i++)
        rows[i] = ring_row(inputs, row + i - RADIUS);
    for (long column = 0; column < inputs.width; column++) {
        const lanes g = LOAD(g_row + column * LANES);
        for (int i = 0; i < KERNEL; i++)
            for (int j = 0; j < KERNEL; j++)
                part[i * KERNEL + j] += g * LOAD(rows[i] + (column + j) * LANES);
    }
    memcpy(sums, part, sizeof part);
}

struct gradient_sums {
    double sum[LANES], sum_x[LANES];
    float weight[TAPS * LANES];
};

/* A row of t_x = (gradient of the activation) x slope, where that gradient has been added up over
   the pixels which upsampling made of one; sums of t_x and of t_x (x - mean). */
INLINE void store_gradient(const float *gradient, const float *x, float *t_x, float *slopes,
                           long width, long channels, const float *scale, const float *shift,
                           const float *mean, struct gradient_sums *sums,
                           enum activation activation)
{
    const lanes by = LOAD(scale), plus = LOAD(shift), center = LOAD(mean);
    for (long column = 0; column < width; column++)
        STORE(slopes + column * LANES, by * LOAD(x + column * channels) + plus);
    for (long i = 0; i < width * LANES; i++)
        slopes[i] = slope(slopes[i], activation);
    lanes sum = {0.0f}, sum_x = {0.0f};
    for (long column = 0; column < width; column++) {
        const long at = column * channels;
        const lanes value = LOAD(gradient + column * LANES) * LOAD(slopes + column * LANES);
        STORE(t_x + at, value);
        sum += value;
        sum_x += value * (LOAD(x + at) - center);
    }
    ADD_EXACTLY(sums->sum, sum);
    ADD_EXACTLY(sums->sum_x, sum_x);
}

/* Add pairs of columns of `row`, on top of what the row before it gave if there is one. */
INLINE void add_pairs(const float *row, float *sums, long width, int is_second)
{
    for (long column = 0; column < width / 2; column++) {
        const float *pair = row + 2 * column * LANES;
        lanes sum = LOAD(pair) + LOAD(pair + LANES);
        if (is_second)
            sum += LOAD(sums + column * LANES);
        STORE(sums + column * LANES, sum);
    }
}

INLINE void backward(const float *gradient, const float *y, struct normalization norm_after,
                     const float *sum_after, const float *sum_y_after, double count,
                     const float *x, struct normalization norm, const float *weight, float *t_x,
                     float *sum, float *sum_x, float *weight_gradient, float *scratch,
                     struct shape shape, enum activation activation,
                     enum activation activation_after)
{
    const long blocks = num_blocks(shape.channels), row_size = shape.width * shape.channels;
    const long ring_size = KERNEL * (shape.width + 2 * RADIUS) * LANES;
    const struct ring inputs = {scratch, shape.width}, gradients = {scratch + ring_size, shape.width};
    struct gradient_sums *sums = (struct gradient_sums *)(scratch + 2 * ring_size);
    float *values = (float *)(sums + blocks), *pairs = values + shape.width * LANES;
    float *slopes = pairs + shape.width * LANES, *packed = slopes + shape.width * LANES;
    const long x_row_size = row_size / shape.upsampling;
    const long x_size = x_row_size * shape.height / shape.upsampling;
    pack(weight, packed, shape.channels, 1);
    memset(sums, 0, sizeof(struct gradient_sums) * blocks);
    for (long image = 0; image < shape.batch; image++)
        for (long block = 0; block < blocks; block++) {
            const long first = first_channel(block, shape.channels);
            const float *x_image = x + image * x_size + first;
            float *t_x_image = t_x + image * x_size + first;
            const long start = image * row_size * shape.height + first;
            struct output output = {.y = y + start, .gradient = gradient + start};
            float scale[LANES], shift[LANES];
            take_scale(norm, first, scale, shift, LANES);
            take_scale(norm_after, first, output.scale, output.shift, LANES);
            take_gradient_terms(norm_after, first, output.scale, sum_after, sum_y_after, count,
                                output.by_y, output.constant, LANES);
            clear_ring(inputs);
            clear_ring(gradients);
            for (long row = -RADIUS; row < shape.height; row++) {
                const long next = row + RADIUS;
                load_row(inputs, next, x_image, shape, scale, shift, activation);
                load_gradient(gradients, next, &output, shape, slopes, activation_after);
                if (row < 0)
                    continue;
                add_weight_gradient(gradients, inputs, row, sums[block].weight);
                convolve_row(gradients, row, packed + block * TAPS * LANES, values);
                const float *activated = values;
                if (shape.upsampling == 2) {
                    add_pairs(values, pairs, shape.width, row % 2);
                    if (row % 2 == 0)
                        continue;
                    activated = pairs;
                }
                const long at = row / shape.upsampling * x_row_size;
                store_gradient(activated, x_image + at, t_x_image + at, slopes,
                               shape.width / shape.upsampling, shape.channels, scale, shift,
                               norm.mean + first, sums + block, activation);
            }
        }
    for (long block = 0; block < blocks; block++) {
        const long first = first_channel(block, shape.channels);
        for (int lane = 0; lane < LANES; lane++) {
            sum[first + lane] = (float)sums[block].sum[lane];
            sum_x[first + lane] = (float)sums[block].sum_x[lane];
            for (int tap = 0; tap < TAPS; tap++)
                weight_gradient[(first + lane) * TAPS + tap] =
                    sums[block].weight[tap * LANES + lane];
        }
    }
}

/* t_x, the gradient of what the first activation gets, and its sums as of batch_norm_backward; and
   the weight's gradient. The given sums over count rows of all ranks are those for y. */
FOR_EACH_CPU void normalized_depthwise_backward(
    const float *gradient, const float *y, const float *weight_after, const float *bias_after,
    const float *mean_after, const float *variance_after, const float *sum_after,
    const float *sum_y_after, long count, const float *x, const float *norm_weight,
    const float *norm_bias, const float *norm_mean, const float *norm_variance, float epsilon,
    const float *weight, float *t_x, float *sum, float *sum_x, float *weight_gradient,
    float *scratch, long batch, long height, long width, long channels, long upsampling,
    int middle)
{
    const struct normalization norm = {norm_weight, norm_bias, norm_mean, norm_variance, epsilon};
    const struct normalization norm_after = {weight_after, bias_after, mean_after, variance_after,
                                             epsilon};
    const struct shape shape = {batch, height, width, channels, upsampling};
    WITH_ACTIVATIONS(backward, gradient, y, norm_after, sum_after, sum_y_after, count, x, norm,
                     weight, t_x, sum, sum_x, weight_gradient, scratch, shape)
}
