// W2A8 product of one token with a ternary matrix, N rows × K columns.
//
// Shapes: tiles [N/16][K/32] of 128 bytes; x, norm [K]; out [N] (or [N/2] for a gated pair).
// Bytes: N·K/4 of weights from memory, once; each block reads x and norm (8·K) from the second-level cache.
// Bound by: memory. A thread keeps four loads of 16 bytes in flight; two instructions (mask, dp4a) do four weights.
// Launch: 256 threads; any number of blocks; split 1, 2, 4 or 8 warps a tile row (at most 4 for gemv_activate); shared
// memory sizeof(GemvScratch) + K rounded up to whole tiles, and 4·K more for rows of up to longestStagedRow.
#include "gemv.cuh"

/// Each block recomputes norm and quantiser, which costs less than a launch of their own. x may be null weights (no
/// norm).
__device__ __forceinline__ void normalizedGemv(Outcome outcome, const Matrix &m, int split, const float *x, const float *norm, float epsilon, const Target &target,
                               unsigned char *shared) {
  GemvScratch &scratch = *(GemvScratch *)shared;
  int8_t *codes = (int8_t *)(shared + sizeof(GemvScratch));
  float *staged = (float *)(codes + m.tilesPerRow * tileColumnCount);
  stageNorm(norm, m.columns, staged);
  ptx::commitAsync();
  Gemv gemv(m, outcome, split, blockIdx.x, gridDim.x);
  ptx::waitAsync<0>();
  __syncthreads();
  int sum;
  Marks unmarked;
  const float s =
      blockQuantizeStaged(x, norm, staged, epsilon, m.columns, codes, m.tilesPerRow * tileColumnCount, sum, scratch.row, unmarked);
  gemv.run(codes, sum, s, target, scratch);
}

extern "C" __global__ void __launch_bounds__(256, 2)
gemv_project(const Matrix m, int split, const float *x, const float *norm, float epsilon, const Target target) {
  DYNAMIC_SHARED(shared);
  normalizedGemv(project, m, split, x, norm, epsilon, target, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
gemv_add(const Matrix m, int split, const float *x, const float *norm, float epsilon, const Target target) {
  DYNAMIC_SHARED(shared);
  normalizedGemv(addToResidual, m, split, x, norm, epsilon, target, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
gemv_activate(const Matrix m, int split, const float *x, const float *norm, float epsilon, const Target target) {
  DYNAMIC_SHARED(shared);
  normalizedGemv(activate, m, split, x, norm, epsilon, target, shared);
}

/// The bare product of codes that are already there: what W2A8 kernels are compared by. codes: [K rounded up to whole
/// tiles], zero from K on.
extern "C" __global__ void __launch_bounds__(256, 3)
gemv_exact(const Matrix m, int split, const int8_t *codes, int sum, const Target target) {
  DYNAMIC_SHARED(shared);
  GemvScratch &scratch = *(GemvScratch *)shared;
  int8_t *own = (int8_t *)(shared + sizeof(GemvScratch));
  Gemv gemv(m, exact, split, blockIdx.x, gridDim.x);
  for (int i = 16 * threadIdx.x; i < m.tilesPerRow * tileColumnCount; i += 16 * blockThreads)
    ptx::copyAsync16(own + i, codes + i);
  ptx::commitAsync();
  ptx::waitAsync<0>();
  __syncthreads();
  gemv.run(own, sum, 1.0f, target, scratch);
}
