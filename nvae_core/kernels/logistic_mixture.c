/* log p of images under mixtures of discretized logistics, summed over their pixels.

   parameters: (samples, images, pixels, channels), x: (images, colours, pixels) in [0, 1]. Channels
   are the logits of M components, then for each colour M means, M log scales and, with three
   colours, M coefficients. Pixels are worked on in blocks, a pixel in each lane. */

#include <string.h>

#include "elementary.h"

#define LANES 16
#define MAX_COLOURS 3
#define MIN_LOG_SCALE -7.0f
#define NARROW 0.25f /* bins narrower than this many scales take a series */

struct mixture {
    long components, colours;
    float last; /* level; they are -last, -last + 2, ..., last */
    float log_bin;
};

/* What a colour of a component contributes: log p = sum + log(factor). */
struct term {
    float sum, factor;
};

INLINE float below_zero(float x)
{
    return x < 0.0f ? x : 0.0f;
}

INLINE float magnitude(float x)
{
    return x < 0.0f ? -x : x;
}

/* (1 - exp(-w)) / w */
INLINE float relative_mass(float w)
{
    float p = -1.0f / 720.0f;
    p = p * w + 1.0f / 120.0f;
    p = p * w - 1.0f / 24.0f;
    p = p * w + 1.0f / 6.0f;
    p = p * w - 0.5f;
    p = p * w + 1.0f;
    const float wide = (1.0f - exponential(-w)) / w;
    return w < NARROW ? p : wide;
}

/* With the bin's edges a and b in scales from the mean, the mass is
   sigmoid(a) sigmoid(-b) (1 - exp(b - a)); the lowest bin is open below, the highest above. */
INLINE struct term bin(float position, float mean, float log_scale, struct mixture mixture)
{
    log_scale = log_scale < MIN_LOG_SCALE ? MIN_LOG_SCALE : log_scale;
    const float inverse = exponential(-log_scale);
    const float a = inverse * ((position + 1.0f) / mixture.last - mean);
    const float b = inverse * ((position - 1.0f) / mixture.last - mean);
    const int is_first = position == -mixture.last, is_last = position == mixture.last;
    const float by_a = is_last ? 1.0f : 1.0f + exponential(-magnitude(a));
    const float by_b = is_first ? 1.0f : 1.0f + exponential(-magnitude(b));
    const int is_open = is_first | is_last;
    const float mass = is_open ? 1.0f : relative_mass(2.0f / mixture.last * inverse);
    const float linear_a = is_last ? 0.0f : below_zero(a);
    const float linear_b = is_first ? 0.0f : below_zero(-b);
    const float width = is_open ? 0.0f : mixture.log_bin - log_scale;
    return (struct term){linear_a + linear_b + width, mass / (by_a * by_b)};
}

/* Parameters of a block of pixels, (channels, lanes). */
INLINE void gather(const float *parameters, long channels, long pixels, float *block)
{
    for (long lane = 0; lane < LANES; lane++) {
        const float *own = parameters + (lane < pixels ? lane : 0) * channels;
        for (long channel = 0; channel < channels; channel++)
            block[channel * LANES + lane] = own[channel];
    }
}

/* Values in [-1, 1] and levels of a block of pixels, (colours, lanes) each. */
INLINE void gather_levels(const float *x, long stride, long pixels, struct mixture mixture,
                          float *values, float *positions)
{
    for (long colour = 0; colour < mixture.colours; colour++)
        for (long lane = 0; lane < LANES; lane++) {
            const float value = 2.0f * x[colour * stride + (lane < pixels ? lane : 0)] - 1.0f;
            values[colour * LANES + lane] = value;
            positions[colour * LANES + lane] =
                2.0f * rintf((value + 1.0f) * (mixture.last / 2.0f)) - mixture.last;
        }
}

/* Parameter `kind` (mean, log scale, coefficient) of a colour's component, of each lane. */
INLINE const float *find(const float *block, struct mixture mixture, long colour, long kind,
                         long component)
{
    const long kinds = mixture.colours == MAX_COLOURS ? 3 : 2;
    const long channel = mixture.components * (1 + colour * kinds + kind) + component;
    return block + channel * LANES;
}

/* log p(x | component) of each lane. */
INLINE void score_component(const float *block, const float *values, const float *positions,
                            struct mixture mixture, long component, float *scores)
{
    float factors[LANES];
    for (int lane = 0; lane < LANES; lane++) {
        scores[lane] = 0.0f;
        factors[lane] = 1.0f;
    }
    for (long colour = 0; colour < mixture.colours; colour++) {
        const float *means = find(block, mixture, colour, 0, component);
        const float *log_scales = find(block, mixture, colour, 1, component);
        float shifts[LANES] = {0.0f};
        for (long i = 0; i < colour; i++) { /* green depends on red; blue on red, and on green */
            const float *by = find(block, mixture, colour == 1 ? 0 : 1 + i, 2, component);
            for (int lane = 0; lane < LANES; lane++)
                shifts[lane] += hyperbolic_tangent(by[lane]) * values[i * LANES + lane];
        }
        for (int lane = 0; lane < LANES; lane++) {
            const struct term term = bin(positions[colour * LANES + lane],
                                         means[lane] + shifts[lane], log_scales[lane], mixture);
            scores[lane] += term.sum;
            factors[lane] *= term.factor;
        }
    }
    for (int lane = 0; lane < LANES; lane++)
        scores[lane] += logarithm(factors[lane]);
}

/* results = log sum exp over the rows (rows, lanes). */
INLINE void log_sum_exp(const float *rows, long num_rows, float *results)
{
    float largest[LANES], sums[LANES] = {0.0f};
    memcpy(largest, rows, sizeof largest);
    for (long row = 1; row < num_rows; row++)
        for (int lane = 0; lane < LANES; lane++) {
            const float value = rows[row * LANES + lane];
            largest[lane] = largest[lane] > value ? largest[lane] : value;
        }
    for (long row = 0; row < num_rows; row++)
        for (int lane = 0; lane < LANES; lane++)
            sums[lane] += exponential(rows[row * LANES + lane] - largest[lane]);
    for (int lane = 0; lane < LANES; lane++)
        results[lane] = largest[lane] + logarithm(sums[lane]);
}

/* Sum over the pixels of a block. */
INLINE double score_block(const float *parameters, const float *x, float *block, float *scores,
                          long pixels, long stride, long channels, struct mixture mixture)
{
    float values[MAX_COLOURS * LANES], positions[MAX_COLOURS * LANES];
    float total[LANES], weight[LANES];
    gather(parameters, channels, pixels, block);
    gather_levels(x, stride, pixels, mixture, values, positions);
    for (long component = 0; component < mixture.components; component++) {
        float *own = scores + component * LANES;
        score_component(block, values, positions, mixture, component, own);
        for (int lane = 0; lane < LANES; lane++)
            own[lane] += block[component * LANES + lane];
    }
    log_sum_exp(scores, mixture.components, total);
    log_sum_exp(block, mixture.components, weight);
    double sum = 0.0;
    for (int lane = 0; lane < LANES && lane < pixels; lane++)
        sum += total[lane] - weight[lane];
    return sum;
}

/* log_prob: (samples, images) */
FOR_EACH_CPU void logistic_mixture_log_prob(const float *parameters, const float *x,
                                            float *log_prob, long samples, long images,
                                            long pixels, long components, long colours, float last)
{
    const struct mixture mixture = {components, colours, last, logf(2.0f / last)};
    const long channels = components * (1 + colours * (colours == MAX_COLOURS ? 3 : 2));
    float block[channels * LANES], scores[components * LANES];
    for (long sample = 0; sample < samples; sample++)
        for (long image = 0; image < images; image++) {
            const float *own = parameters + (sample * images + image) * pixels * channels;
            const float *levels = x + image * colours * pixels;
            double sum = 0.0;
            for (long start = 0; start < pixels; start += LANES) {
                const long count = start + LANES <= pixels ? LANES : pixels - start;
                sum += score_block(own + start * channels, levels + start, block, scores, count,
                                   pixels, channels, mixture);
            }
            log_prob[sample * images + image] = (float)sum;
        }
}
