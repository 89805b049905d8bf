// W2A8 product of one token with a ternary matrix, N rows × K columns.
//
// Shapes: tiles [N/16][K/32] of 128 bytes; x, norm [K]; out [N] (or [N/2] for a gated pair).
// Bytes: N·K/4 of weights from memory, once; each block reads x and norm (8·K) from the second-level cache.
// Bound by: memory. A thread keeps three loads of 16 bytes in flight; two instructions (mask, dp4a) do four weights.
// Launch: 256 threads; any number of blocks; split 1, 2, 4 or 8 warps a tile row (at most 4 for gemv_activate); shared
// memory sizeof(GemvScratch) + K rounded up to whole tiles, and 4·K more for rows of up to longestStagedRow.
#include "gemv.cuh"

/// Each block recomputes norm and quantiser, which costs less than a separate launch.
__device__ __forceinline__ void normalizedGemv(Outcome outcome, const GemvParameters &p, unsigned char *shared) {
  const Matrix &m = p.matrix;
  GemvScratch &scratch = *(GemvScratch *)shared;
  int8_t *codes = (int8_t *)(shared + sizeof(GemvScratch));
  float *staged = (float *)(codes + m.tilesPerRow * tileColumnCount);
  stageNorm(p.norm, m.columns, staged);
  ptx::commitAsync();
  Gemv gemv(m, outcome, p.split, blockIdx.x, gridDim.x);
  ptx::waitAsync<0>();
  __syncthreads();
  int sum;
  Marks unmarked;
  const float s = blockQuantizeStaged(p.x, p.norm, staged, p.epsilon, m.columns, codes, m.tilesPerRow * tileColumnCount,
                                      sum, scratch.row, unmarked);
  gemv.run(codes, sum, s, p.target, scratch);
}

extern "C" __global__ void __launch_bounds__(256, 2)
gemv_project(const GemvParameters p) {
  DYNAMIC_SHARED(shared);
  normalizedGemv(project, p, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
gemv_add(const GemvParameters p) {
  DYNAMIC_SHARED(shared);
  normalizedGemv(addToResidual, p, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
gemv_activate(const GemvParameters p) {
  DYNAMIC_SHARED(shared);
  normalizedGemv(activate, p, shared);
}

/// The bare product of codes that are already quantised, by which W2A8 kernels are compared.
extern "C" __global__ void __launch_bounds__(256, 3)
gemv_exact(const GemvExactParameters p) {
  DYNAMIC_SHARED(shared);
  GemvScratch &scratch = *(GemvScratch *)shared;
  int8_t *own = (int8_t *)(shared + sizeof(GemvScratch));
  const Matrix &m = p.matrix;
  Gemv gemv(m, exact, p.split, blockIdx.x, gridDim.x);
  for (int i = 16 * threadIdx.x; i < m.tilesPerRow * tileColumnCount; i += 16 * blockThreads)
    ptx::copyAsync16(own + i, p.codes + i);
  ptx::commitAsync();
  ptx::waitAsync<0>();
  __syncthreads();
  gemv.run(own, p.sum, 1.0f, p.target, scratch);
}
