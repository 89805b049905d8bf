// Operations on whole rows of activations: one block of 256 threads a row.
//
// Bytes: each row is read from the second-level cache two or three times and written once; a few microseconds for a prompt's chunk.
// Bound by: latency; blocks are many and short.
#include "quantize.cuh"

/// The embedding's rows of `tokens`: x [rows][hidden] = table [vocabulary][hidden], widened.
extern "C" __global__ void __launch_bounds__(256)
embed_rows(const int *tokens, const uint16_t *table, int hidden, float *x) {
  const uint16_t *row = table + (size_t)tokens[blockIdx.x] * hidden;
  for (int i = threadIdx.x; i < hidden; i += blockThreads) x[(size_t)blockIdx.x * hidden + i] = fromBFloat16(row[i]);
}

/// RMSNorm (none where norm is null) and absmax quantiser: codes [rows][codeStride], cleared from n on; scales and sums [rows].
/// Shared memory: sizeof(RowScratch).
extern "C" __global__ void __launch_bounds__(256)
quantize_rows(const float *x, int xStride, const float *norm, float epsilon, int n, int8_t *codes, int codeStride, float *scales, int *sums) {
  DYNAMIC_SHARED(shared);
  int sum;
  const float s = blockQuantize(x + (size_t)blockIdx.x * xStride, norm, epsilon, n, codes + (size_t)blockIdx.x * codeStride, codeStride, sum,
                                *(RowScratch *)shared);
  if (threadIdx.x == 0) {
    scales[blockIdx.x] = s;
    sums[blockIdx.x] = sum;
  }
}
