// Operations on whole rows of activations: one block of 256 threads a row.
//
// Bytes: each row is read from the second-level cache and written once; a few microseconds for a prompt's chunk.
// Bound by: latency; blocks are many and short.
#include "quantize.cuh"

/// The embedding's rows of the tokens, widened to floats and scaled.
extern "C" __global__ void __launch_bounds__(256)
embed_rows(const EmbedParameters p) {
  const uint16_t *row = p.table + (size_t)p.tokens[blockIdx.x] * p.hidden;
  for (int i = threadIdx.x; i < p.hidden; i += blockThreads)
    p.x[(size_t)blockIdx.x * p.hidden + i] = __fmul_rn(fromBFloat16(row[i]), p.scale);
}

/// blockQuantize for rows of at most 256 · count elements: thread t holds t, t + 256, … in registers, with the norm's
/// weights, so that the thread waits for memory once. codes: padded bytes, a multiple of 16, and on 16 bytes.
template <int count>
__device__ __forceinline__ float quantizeRow(const float *x, const float *norm, float epsilon, int n, int8_t *codes,
                                             int padded, int &sum, RowScratch &scratch) {
  const int left = n - (int)threadIdx.x, leftPadded = padded - (int)threadIdx.x;
  float v[count], weight[count];
#pragma unroll
  for (int k = 0; k < count; k++) v[k] = k * blockThreads < left ? x[threadIdx.x + k * blockThreads] : 0.0f;
  if (norm) {
#pragma unroll
    for (int k = 0; k < count; k++) weight[k] = k * blockThreads < left ? norm[threadIdx.x + k * blockThreads] : 0.0f;
    float squares = 0;  // zeros beyond the row leave it as it is
#pragma unroll
    for (int k = 0; k < count; k++) squares = __fmaf_rn(v[k], v[k], squares);
    const float r = combinedNormalizer(squares, epsilon, n, scratch);
#pragma unroll
    for (int k = 0; k < count; k++) v[k] = k * blockThreads < left ? __fmul_rn(__fmul_rn(v[k], r), weight[k]) : 0.0f;
  }
  float absmax = 0;
#pragma unroll
  for (int k = 0; k < count; k++) absmax = larger(absmax, fabsf(v[k]));
  const float scale = blockScale(absmax, scratch);
  unsigned own = 0;
#pragma unroll
  for (int k = 0; k < count; k++) {
    // The code is the low byte; the bias that all have in common is subtracted from their sum at once.
    const unsigned bits = quantizedBits(v[k], scale);
    if (k * blockThreads < leftPadded) codes[threadIdx.x + k * blockThreads] = (int8_t)bits;
    own += bits;
  }
  for (int i = count * blockThreads + 16 * threadIdx.x; i < padded; i += 16 * blockThreads)
    *(uint4 *)(codes + i) = make_uint4(0, 0, 0, 0);
  sum = codeSum((int)(own - count * quantizedBias), scratch);
  return scale;
}

/// RMSNorm, if there is a norm, and absmax quantiser. Shared memory: sizeof(RowScratch).
extern "C" __global__ void __launch_bounds__(256, 2)
quantize_rows(const QuantizeParameters p) {
  DYNAMIC_SHARED(shared);
  RowScratch &scratch = *(RowScratch *)shared;
  const float *row = p.x + (size_t)blockIdx.x * p.xStride;
  int8_t *own = p.codes + (size_t)blockIdx.x * p.codeStride;
  const int n = p.columns;
  int sum;
  float s;
  // 2,560 and 6,912 columns are those of BitNet b1.58 2B-4T.
  if (n <= 10 * blockThreads)
    s = quantizeRow<10>(row, p.norm, p.epsilon, n, own, p.codeStride, sum, scratch);
  else if (n <= 27 * blockThreads)
    s = quantizeRow<27>(row, p.norm, p.epsilon, n, own, p.codeStride, sum, scratch);
  else
    s = blockQuantize(row, p.norm, p.epsilon, n, own, p.codeStride, sum, scratch);
  if (threadIdx.x == 0) {
    p.scales[blockIdx.x] = s;
    p.sums[blockIdx.x] = sum;
  }
}
