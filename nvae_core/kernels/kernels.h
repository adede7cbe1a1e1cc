/* What the kernels have in common: float32, channels_last memory format, one thread. */

#ifndef NVAE_KERNELS_H
#define NVAE_KERNELS_H

/* One copy of the function per generation of processors; the loader picks. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_CPU
#endif

#define INLINE static inline __attribute__((always_inline))

/* Sums are taken in as many parts, so that the compiler may vectorize them. */
#define NUM_PARTS 64

INLINE float add_parts(const float *parts)
{
    float sum = 0.0f;
    for (int part = 0; part < NUM_PARTS; part++)
        sum += parts[part];
    return sum;
}

INLINE float dot(const float *a, const float *b, long length)
{
    float parts[NUM_PARTS] = {0.0f};
    const long whole = length - length % NUM_PARTS;
    for (long start = 0; start < whole; start += NUM_PARTS)
        for (int part = 0; part < NUM_PARTS; part++)
            parts[part] += a[start + part] * b[start + part];
    for (long i = whole; i < length; i++)
        parts[i - whole] += a[i] * b[i];
    return add_parts(parts);
}

#endif
