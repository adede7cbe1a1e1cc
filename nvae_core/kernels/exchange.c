/* Sums and lists of what the ranks of one machine hold, through memory that they share.

   Each rank has two slots, used in turn, and counts the rounds that it has written. A slot is written
   again two rounds later: by then all ranks have written the round between, and so have read it. */

#define _POSIX_C_SOURCE 200809L

#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "kernels.h"

#define CACHE_LINE 64
#define SPINS 20000 /* before others may have the processor */

struct shared {
    unsigned char *memory; /* a cache line for each rank's count, then the slots */
    long rank, num_ranks, slot_size; /* in floats */
};

INLINE uint64_t *count_of(struct shared shared, long rank)
{
    return (uint64_t *)(shared.memory + rank * CACHE_LINE);
}

INLINE float *slot_of(struct shared shared, long rank, uint64_t round)
{
    float *slots = (float *)(shared.memory + shared.num_ranks * CACHE_LINE);
    return slots + (rank * 2 + (long)(round % 2)) * shared.slot_size;
}

INLINE double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Wait until a rank has written a round; 0 if it has not for so long. */
INLINE int wait_for(struct shared shared, long rank, uint64_t round, double patience_seconds)
{
    double deadline = 0.0;
    for (long spin = 0; __atomic_load_n(count_of(shared, rank), __ATOMIC_ACQUIRE) < round; spin++) {
        if (spin < SPINS)
            continue;
        sched_yield();
        if (spin % 64)
            continue;
        if (deadline == 0.0)
            deadline = now() + patience_seconds;
        else if (now() > deadline)
            return 0;
    }
    return 1;
}

/* Gather values (length) of all ranks into results (ranks, length) or add them up in the order of the
   ranks, results (length). `round` counts the rounds so far. Return the rounds after this one, or
   minus one less the rank that did not come. */
long exchange(unsigned char *memory, long rank, long num_ranks, long slot_size, long round,
              const float *values, float *results, long length, int is_sum,
              double patience_seconds)
{
    const struct shared shared = {memory, rank, num_ranks, slot_size};
    for (long start = 0; start < length; start += slot_size) {
        const long part = start + slot_size <= length ? slot_size : length - start;
        memcpy(slot_of(shared, rank, (uint64_t)round), values + start, sizeof(float) * part);
        __atomic_store_n(count_of(shared, rank), (uint64_t)round + 1, __ATOMIC_RELEASE);
        for (long other = 0; other < num_ranks; other++) {
            if (!wait_for(shared, other, (uint64_t)round + 1, patience_seconds))
                return -1 - other;
            const float *theirs = slot_of(shared, other, (uint64_t)round);
            float *target = results + start + (is_sum ? 0 : other * length);
            if (!is_sum || other == 0)
                memcpy(target, theirs, sizeof(float) * part);
            else
                for (long i = 0; i < part; i++)
                    target[i] += theirs[i];
        }
        round++;
    }
    return round;
}
