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

#endif
