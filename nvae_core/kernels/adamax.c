/* One update of AdaMax, in one pass over the parameter. */

#include <math.h>

#include "kernels.h"

FOR_EACH_CPU void adamax_update(float *parameter, const float *gradient, float *mean, float *norm,
                                long length, float rate, float mean_decay, float norm_decay,
                                float epsilon, float weight_decay)
{
    for (long i = 0; i < length; i++) {
        const float g = gradient[i] + weight_decay * parameter[i];
        mean[i] += (1.0f - mean_decay) * (g - mean[i]);
        const float decayed = norm_decay * norm[i], magnitude = fabsf(g) + epsilon;
        norm[i] = decayed > magnitude ? decayed : magnitude;
        parameter[i] -= rate * mean[i] / norm[i];
    }
}
