/* The pointwise part of one step of a peephole LSTM, forward and backward (models/lstm.py has the equations).

   Compiled by models/compiled_lstm.py, once with REAL=float and once with REAL=double. Loops over units are
   written so that compilers vectorise them: no branches, no calls, no reductions across a row.

   Shapes: R replicas, B sequences, H units. Rows of gates are the blocks i, f, candidate, o of H numbers each. A
   stride is the distance, in numbers, between two replicas; within a replica everything is contiguous.

   NaN goes in, NaN comes out: comparisons are such that it falls through, and nothing here assumes finite numbers. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define JOIN(a, b) a##_##b
#define NAMED(a, b) JOIN(a, b)
#define EXPORT(name) NAMED(name, REAL)

#define WORTH_THREADS 16384 /* units times sequences below which waking a second thread costs more than it saves */
#define COLUMNS 64          /* units that one thread handles at a time in the backward pass; its sums stay in cache */

#ifdef IS_DOUBLE

static inline double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static inline double tanh_(double x) { return tanh(x); }

#else

/* exp(x) = 2^n (1 + q) with n = round(x / ln 2), r = x - n ln 2 in [-0.35, 0.35] and q = exp(r) - 1 as its Taylor
   series up to r^7 (remainder below 6e-9). Keeping q apart from 1 gives exp(x) - 1 without cancellation:
   2^n q + (2^n - 1). */
static inline float parts_of_exp(float x, float *power)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, held in the low bits */
    float shifted = x * 1.44269504f + shift;
    float n = shifted - shift;
    /* ln 2 as 0.693359375, exact in 10 bits so that n times it is exact, and the rest */
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float q = 1.0f / 5040;
    q = q * r + 1.0f / 720;
    q = q * r + 1.0f / 120;
    q = q * r + 1.0f / 24;
    q = q * r + 1.0f / 6;
    q = q * r + 0.5f;
    q = q * r * r + r;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int32_t)((uint32_t)(bits + 127) << 23);
    memcpy(power, &bits, sizeof bits);
    return q;
}

static inline float sigmoid(float x)
{
    float power, y = -x;
    y = y < -87 ? -87 : y;
    y = y > 87 ? 87 : y;
    float q = parts_of_exp(y, &power);
    return 1 / (1 + (power + power * q));
}

static inline float tanh_(float x)
{
    float power, y = 2 * x; /* tanh x = (e^y - 1) / (e^y + 1) */
    y = y < -20 ? -20 : y; /* where tanh is 1 to the last bit */
    y = y > 20 ? 20 : y;
    float q = parts_of_exp(y, &power);
    float less_one = power * q + (power - 1);
    return less_one / (less_one + 2);
}

#endif

/* gates: pre-activations without bias in, activations out; c and h: written. */
void EXPORT(forward)(int64_t R, int64_t B, int64_t H, const REAL *bias, const REAL *peephole, REAL *gates,
                     int64_t gates_stride, const REAL *c_before, REAL *c, REAL *h, int64_t state_stride, int threads)
{
    (void)threads;
#pragma omp parallel for schedule(static) num_threads(threads) if (R * B * H >= WORTH_THREADS)
    for (int64_t row = 0; row < R * B; row++) {
        int64_t r = row / B, b = row % B, at = r * state_stride + b * H;
        REAL *restrict gate_i = gates + r * gates_stride + b * 4 * H;
        REAL *restrict gate_f = gate_i + H, *restrict candidate = gate_f + H, *restrict gate_o = candidate + H;
        const REAL *restrict bias_i = bias + r * 4 * H, *restrict bias_f = bias_i + H;
        const REAL *restrict bias_k = bias_f + H, *restrict bias_o = bias_k + H;
        const REAL *restrict peep_i = peephole + r * 3 * H, *restrict peep_f = peep_i + H, *restrict peep_o = peep_f + H;
        const REAL *restrict old = c_before + at;
        REAL *restrict new = c + at, *restrict out = h + at;
#pragma omp simd
        for (int64_t j = 0; j < H; j++) {
            REAL i = sigmoid(gate_i[j] + bias_i[j] + peep_i[j] * old[j]);
            REAL f = sigmoid(gate_f[j] + bias_f[j] + peep_f[j] * old[j]);
            REAL k = tanh_(candidate[j] + bias_k[j]);
            REAL cell = f * old[j] + i * k;
            REAL o = sigmoid(gate_o[j] + bias_o[j] + peep_o[j] * cell);
            gate_i[j] = i;
            gate_f[j] = f;
            candidate[j] = k;
            gate_o[j] = o;
            new[j] = cell;
            out[j] = o * tanh_(cell);
        }
    }
}

/* d_gates: written. d_h: gradient of h from the next step (R, B, H), or null; d_output: that from outside, or null.
   d_c: gradient of this step's cell in, of the one before out. sums: (R, 7, H), to which the gradients of the four
   biases and the three peepholes are added. */
void EXPORT(backward)(int64_t R, int64_t B, int64_t H, const REAL *peephole, const REAL *gates, REAL *d_gates,
                      int64_t gates_stride, const REAL *c_before, const REAL *c, int64_t state_stride,
                      const REAL *d_output, int64_t output_stride, const REAL *d_h, REAL *d_c, REAL *sums, int threads)
{
    int64_t blocks = (H + COLUMNS - 1) / COLUMNS;
    (void)threads;
#pragma omp parallel for schedule(static) num_threads(threads) if (R * B * H >= WORTH_THREADS)
    for (int64_t piece = 0; piece < R * blocks; piece++) {
        int64_t r = piece / blocks, first = piece % blocks * COLUMNS;
        int64_t width = H - first < COLUMNS ? H - first : COLUMNS;
        const REAL *restrict peep_i = peephole + r * 3 * H + first, *restrict peep_f = peep_i + H;
        const REAL *restrict peep_o = peep_f + H;
        REAL sum[7][COLUMNS];
        memset(sum, 0, sizeof sum);
        for (int64_t b = 0; b < B; b++) {
            int64_t at = r * gates_stride + b * 4 * H + first, state_at = r * state_stride + b * H + first;
            const REAL *restrict gate_i = gates + at, *restrict gate_f = gate_i + H;
            const REAL *restrict candidate = gate_f + H, *restrict gate_o = candidate + H;
            REAL *restrict d_i = d_gates + at, *restrict d_f = d_i + H, *restrict d_k = d_f + H, *restrict d_o = d_k + H;
            const REAL *restrict old = c_before + state_at, *restrict new = c + state_at;
            const REAL *restrict from_output = d_output ? d_output + r * output_stride + b * H + first : 0;
            const REAL *restrict from_next = d_h ? d_h + (r * B + b) * H + first : 0;
            REAL *restrict d_cell = d_c + (r * B + b) * H + first;
            REAL d_out[COLUMNS];
            for (int64_t j = 0; j < width; j++)
                d_out[j] = (from_output ? from_output[j] : 0) + (from_next ? from_next[j] : 0);
#pragma omp simd
            for (int64_t j = 0; j < width; j++) {
                REAL i = gate_i[j], f = gate_f[j], k = candidate[j], o = gate_o[j], squashed = tanh_(new[j]);
                REAL pre_o = d_out[j] * squashed * o * (1 - o);
                REAL cell = d_cell[j] + d_out[j] * o * (1 - squashed * squashed) + pre_o * peep_o[j];
                REAL pre_i = cell * k * i * (1 - i);
                REAL pre_f = cell * old[j] * f * (1 - f);
                REAL pre_k = cell * i * (1 - k * k);
                d_i[j] = pre_i;
                d_f[j] = pre_f;
                d_k[j] = pre_k;
                d_o[j] = pre_o;
                d_cell[j] = cell * f + pre_i * peep_i[j] + pre_f * peep_f[j];
                sum[0][j] += pre_i;
                sum[1][j] += pre_f;
                sum[2][j] += pre_k;
                sum[3][j] += pre_o;
                sum[4][j] += pre_i * old[j];
                sum[5][j] += pre_f * old[j];
                sum[6][j] += pre_o * new[j];
            }
        }
        for (int row = 0; row < 7; row++)
            for (int64_t j = 0; j < width; j++)
                sums[(r * 7 + row) * H + first + j] += sum[row][j];
    }
}
