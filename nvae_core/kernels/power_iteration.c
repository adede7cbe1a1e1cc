/* Power iteration on a matrix, for its largest singular value. */

#include <math.h>

#include "kernels.h"

#define SHORTEST 1e-3f /* vectors that are shorter are not stretched to length 1 */
#define ROWS 4         /* whose products are added up at once */

INLINE void normalize(float *vector, long length)
{
    const float norm = sqrtf(dot(vector, vector, length));
    const float scale = 1.0f / (norm > SHORTEST ? norm : SHORTEST);
    for (long i = 0; i < length; i++)
        vector[i] *= scale;
}

/* right = left W */
INLINE void multiply_left(const float *matrix, const float *left, float *right, long rows,
                          long columns)
{
    for (long column = 0; column < columns; column++)
        right[column] = 0.0f;
    long row = 0;
    for (; row + ROWS <= rows; row += ROWS) {
        const float *w = matrix + row * columns;
        for (long column = 0; column < columns; column++) {
            float sum = 0.0f;
            for (int i = 0; i < ROWS; i++)
                sum += left[row + i] * w[i * columns + column];
            right[column] += sum;
        }
    }
    for (; row < rows; row++)
        for (long column = 0; column < columns; column++)
            right[column] += left[row] * matrix[row * columns + column];
}

/* Move left (rows) and right (columns) towards the singular vectors; return left W right. */
FOR_EACH_CPU float power_iteration(const float *matrix, float *left, float *right, long rows,
                                   long columns, long num_iterations)
{
    float value = 0.0f;
    for (long iteration = 0; iteration < num_iterations; iteration++) {
        multiply_left(matrix, left, right, rows, columns);
        normalize(right, columns);
        for (long row = 0; row < rows; row++)
            left[row] = dot(matrix + row * columns, right, columns);
        const float length = sqrtf(dot(left, left, rows));
        const float longest = length > SHORTEST ? length : SHORTEST;
        value = length * length / longest;
        for (long row = 0; row < rows; row++)
            left[row] /= longest;
    }
    return value;
}
