/* Activations of whole tensors. */

#include "normalization.h"

#define FOR_EACH_VALUE(activation)                                                                 \
    for (long i = 0; i < count; i++)                                                               \
        y[i] = activate(x[i], activation);

/* y may be x. */
FOR_EACH_CPU void activate_values(const float *x, float *y, long count, int activation)
{
    if (activation == SWISH)
        FOR_EACH_VALUE(SWISH)
    else if (activation == ELU)
        FOR_EACH_VALUE(ELU)
    else if (activation == ELU_TWICE)
        FOR_EACH_VALUE(ELU_TWICE)
    else
        FOR_EACH_VALUE(IDENTITY)
}
