/* The middle of an inverted residual in few passes over memory: batch norm, activation,
   nearest-neighbour upsampling, depthwise 5x5 convolution, batch norm, activation. And that of an
   autoregressive transform, which has other activations, and whose batch norms change nothing.

   x: (batch, height / upsampling, width / upsampling, channels), y: (batch, height, width,
   channels). */

#include "rows.h"

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
