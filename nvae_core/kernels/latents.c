/* Latents of a group: samples of its posterior or prior, and what the likelihood sums over them.

   Raw parameters are (images, pixels, 2 latents), means before log sigmas; noise and z are (images,
   pixels, latents). Where raw parameters are missing, they are zeros. */

#include <string.h>

#include "elementary.h"

#define LIMIT 5.0f
#define MIN_SIGMA 0.01f
#define HALF_LOG_2_PI 0.918938533f
#define PIXELS 16 /* that are worked on at once */

INLINE float soft_clamp(float x)
{
    return LIMIT * hyperbolic_tangent(x * (1.0f / LIMIT));
}

/* Means and standard deviations of some pixels, (pixels, latents) each. */
INLINE void take_parameters(const float *raw, long pixels, long latents, float *mean, float *sigma)
{
    const long count = pixels * latents;
    if (raw)
        for (long pixel = 0; pixel < pixels; pixel++) {
            const float *own = raw + pixel * 2 * latents;
            memcpy(mean + pixel * latents, own, sizeof(float) * latents);
            memcpy(sigma + pixel * latents, own + latents, sizeof(float) * latents);
        }
    else {
        memset(mean, 0, sizeof(float) * count);
        memset(sigma, 0, sizeof(float) * count);
    }
    for (long i = 0; i < count; i++) {
        mean[i] = soft_clamp(mean[i]);
        sigma[i] = exponential(soft_clamp(sigma[i])) + MIN_SIGMA;
    }
}

/* The pixels of each image in parts: raw parameters from `raw_at`, others from `at`. */
#define FOR_EACH_PART(...)                                                                         \
    for (long start = 0; start < pixels; start += PIXELS) {                                        \
        const long part = start + PIXELS <= pixels ? PIXELS : pixels - start;                      \
        const long at = (image * pixels + start) * latents, raw_at = 2 * at;                       \
        const long count = part * latents;                                                         \
        __VA_ARGS__                                                                                \
    }

/* z = mean + sigma noise under q; per image log q(z) and, in closed form, KL(q || p). */
FOR_EACH_CPU void sample_posterior(const float *raw_prior, const float *raw_posterior,
                                   const float *noise, float *z, float *log_density, float *kl,
                                   long images, long pixels, long latents)
{
    float mean[PIXELS * latents], sigma[PIXELS * latents];
    float prior_mean[PIXELS * latents], prior_sigma[PIXELS * latents];
    for (long image = 0; image < images; image++) {
        double density = 0.0, divergence = 0.0;
        FOR_EACH_PART(
            take_parameters(raw_posterior + raw_at, part, latents, mean, sigma);
            take_parameters(raw_prior ? raw_prior + raw_at : NULL, part, latents, prior_mean,
                            prior_sigma);
            for (long i = 0; i < count; i++) {
                const float epsilon = noise[at + i], inverse = 1.0f / prior_sigma[i];
                const float distance = (mean[i] - prior_mean[i]) * inverse;
                const float ratio = sigma[i] * inverse;
                z[at + i] = mean[i] + sigma[i] * epsilon;
                mean[i] = -0.5f * epsilon * epsilon - HALF_LOG_2_PI - logarithm(sigma[i]);
                sigma[i] = 0.5f * (distance * distance + ratio * ratio) - 0.5f - logarithm(ratio);
            }
            density += sum_values(mean, count);
            divergence += sum_values(sigma, count);
        )
        log_density[image] = (float)density;
        kl[image] = (float)divergence;
    }
}

/* Per image log p(z). */
FOR_EACH_CPU void log_prior(const float *raw_prior, const float *z, float *log_density,
                            long images, long pixels, long latents)
{
    float mean[PIXELS * latents], sigma[PIXELS * latents];
    for (long image = 0; image < images; image++) {
        double density = 0.0;
        FOR_EACH_PART(
            take_parameters(raw_prior ? raw_prior + raw_at : NULL, part, latents, mean, sigma);
            for (long i = 0; i < count; i++) {
                const float normalized = (z[at + i] - mean[i]) / sigma[i];
                mean[i] = -0.5f * normalized * normalized - HALF_LOG_2_PI - logarithm(sigma[i]);
            }
            density += sum_values(mean, count);
        )
        log_density[image] = (float)density;
    }
}

/* z = mean + temperature sigma noise under p. */
FOR_EACH_CPU void sample_prior(const float *raw_prior, const float *noise, float temperature,
                               float *z, long images, long pixels, long latents)
{
    float mean[PIXELS * latents], sigma[PIXELS * latents];
    for (long image = 0; image < images; image++)
        FOR_EACH_PART(
            take_parameters(raw_prior ? raw_prior + raw_at : NULL, part, latents, mean, sigma);
            for (long i = 0; i < count; i++)
                z[at + i] = mean[i] + temperature * sigma[i] * noise[at + i];
        )
}
