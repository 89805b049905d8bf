// Operations on whole rows of activations: one block of 256 threads a row.
//
// Bytes: each row is read from the second-level cache and written once; a few microseconds for a prompt's chunk.
// Bound by: latency; blocks are many and short.
#include "quantize.cuh"

/// The embedding's rows of `tokens`: x [rows][hidden] = table [vocabulary][hidden], widened.
extern "C" __global__ void __launch_bounds__(256)
embed_rows(const int *tokens, const uint16_t *table, int hidden, float *x) {
  const uint16_t *row = table + (size_t)tokens[blockIdx.x] * hidden;
  for (int i = threadIdx.x; i < hidden; i += blockThreads) x[(size_t)blockIdx.x * hidden + i] = fromBFloat16(row[i]);
}

/// blockQuantize for rows of at most 256 · count elements: thread t holds t, t + 256, … in registers, with the norm's
/// weights, so that memory is waited for once. codes: padded bytes, a multiple of 16, and on 16 bytes.
template <int count>
__device__ __forceinline__ float quantizeRow(const float *x, const float *norm, float epsilon, int n, int8_t *codes, int padded, int &sum,
                                             RowScratch &scratch) {
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
    // The code is the low byte; what all have in common is taken off their sum at once.
    const unsigned bits = quantizedBits(v[k], scale);
    if (k * blockThreads < leftPadded) codes[threadIdx.x + k * blockThreads] = (int8_t)bits;
    own += bits;
  }
  for (int i = count * blockThreads + 16 * threadIdx.x; i < padded; i += 16 * blockThreads) *(uint4 *)(codes + i) = make_uint4(0, 0, 0, 0);
  sum = codeSum((int)(own - count * quantizedBias), scratch);
  return scale;
}

/// RMSNorm (none where norm is null) and absmax quantiser: codes [rows][codeStride], cleared from n on; scales and sums
/// [rows]. Shared memory: sizeof(RowScratch).
extern "C" __global__ void __launch_bounds__(256, 2)
quantize_rows(const float *x, int xStride, const float *norm, float epsilon, int n, int8_t *codes, int codeStride, float *scales, int *sums) {
  DYNAMIC_SHARED(shared);
  RowScratch &scratch = *(RowScratch *)shared;
  const float *row = x + (size_t)blockIdx.x * xStride;
  int8_t *own = codes + (size_t)blockIdx.x * codeStride;
  int sum;
  float s;
  // 2,560 and 6,912 columns are those of BitNet b1.58 2B-4T.
  if (n <= 10 * blockThreads)
    s = quantizeRow<10>(row, norm, epsilon, n, own, codeStride, sum, scratch);
  else if (n <= 27 * blockThreads)
    s = quantizeRow<27>(row, norm, epsilon, n, own, codeStride, sum, scratch);
  else
    s = blockQuantize(row, norm, epsilon, n, own, codeStride, sum, scratch);
  if (threadIdx.x == 0) {
    scales[blockIdx.x] = s;
    sums[blockIdx.x] = sum;
  }
}
