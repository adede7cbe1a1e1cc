/* The gradients of what normalized_depthwise.c computes. */

#include "rows.h"

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
