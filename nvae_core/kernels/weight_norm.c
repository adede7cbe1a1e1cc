/* Weight normalization: w = exp(l) v / (|v| + epsilon), each output channel a row. */

#include <math.h>

#include "kernels.h"

/* v, w: (rows, columns); log_norm, norm: (rows). norm gets |v|. */
FOR_EACH_CPU void weight_norm_forward(const float *v, const float *log_norm, float epsilon,
                                      float *w, float *norm, long rows, long columns)
{
    for (long row = 0; row < rows; row++) {
        const float *v_row = v + row * columns;
        norm[row] = sqrtf(dot(v_row, v_row, columns));
        const float scale = expf(log_norm[row]) / (norm[row] + epsilon);
        for (long column = 0; column < columns; column++)
            w[row * columns + column] = scale * v_row[column];
    }
}

/* Gradients of v and of log_norm from that of w. */
FOR_EACH_CPU void weight_norm_backward(const float *gradient, const float *v,
                                       const float *log_norm, const float *norm, float epsilon,
                                       float *v_gradient, float *log_norm_gradient, long rows,
                                       long columns)
{
    for (long row = 0; row < rows; row++) {
        const float *g = gradient + row * columns, *v_row = v + row * columns;
        const float length = norm[row];
        const float scale = expf(log_norm[row]) / (length + epsilon);
        const float along = dot(g, v_row, columns);
        log_norm_gradient[row] = scale * along;
        const float by_v = length > 0.0f ? scale * along / (length * (length + epsilon)) : 0.0f;
        for (long column = 0; column < columns; column++)
            v_gradient[row * columns + column] = scale * g[column] - by_v * v_row[column];
    }
}
