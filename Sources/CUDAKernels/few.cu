// W2A8 product of 2 to 8 tokens with a ternary matrix, N rows × K columns; more tokens in groups of 8.
//
// Shapes: tiles [N/16][K/32] of 128 bytes; x [tokens][xStride], norm [K]; out [tokens][stride].
// Bytes: N·K/4 of weights from memory, once for each group of eight tokens (from the second-level cache after the
// first). Bound by: memory. A warp keeps three groups of four tiles (1.5 KB) in flight; a mask and a quarter of an mma
// do 32 weights × 8 tokens. Launch: 256 threads; grid (any number of blocks, groups of eight tokens); split 1, 2, 4 or
// 8 warps a tile row (at most 4 for few_activate); shared memory sizeof(FewScratch) + 8 · fewStride, and the norm's
// weights of rows that registers hold.
#include "few.cuh"

__device__ __forceinline__ void fewGemm(Outcome outcome, const FewParameters &p, unsigned char *shared) {
  const Matrix &m = p.matrix;
  FewScratch &scratch = *(FewScratch *)shared;
  int8_t *codes = (int8_t *)(shared + sizeof(FewScratch));
  float *staged = (float *)(codes + fewTokens * fewStride(m.tilesPerRow));
  FewGemm gemm(m, outcome, p.split, blockIdx.x, gridDim.x);
  stageNorm(p.norm, m.columns, staged);
  ptx::commitAsync();
  const int first = blockIdx.y * fewTokens, here = min(fewTokens, p.tokens - first);
  quantizeFew(p.x + (size_t)first * p.xStride, p.xStride, p.norm, staged, p.epsilon, m, here, codes, scratch);
  gemm.run(codes, here, first, p.target, scratch);
}

extern "C" __global__ void __launch_bounds__(256, 2)
few_project(const FewParameters p) {
  DYNAMIC_SHARED(shared);
  fewGemm(project, p, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
few_add(const FewParameters p) {
  DYNAMIC_SHARED(shared);
  fewGemm(addToResidual, p, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
few_activate(const FewParameters p) {
  DYNAMIC_SHARED(shared);
  fewGemm(activate, p, shared);
}

/// The bare product of codes that are already quantised.
extern "C" __global__ void __launch_bounds__(256, 2)
few_exact(const FewExactParameters p) {
  DYNAMIC_SHARED(shared);
  FewScratch &scratch = *(FewScratch *)shared;
  int8_t *own = (int8_t *)(shared + sizeof(FewScratch));
  const Matrix &m = p.matrix;
  FewGemm gemm(m, exact, p.split, blockIdx.x, gridDim.x);
  const int first = blockIdx.y * fewTokens, here = min(fewTokens, p.tokens - first), stride = fewStride(m.tilesPerRow);
  for (int i = threadIdx.x; i < fewTokens * stride / 16; i += blockThreads) {
    const int token = 16 * i / stride, column = 16 * i % stride;
    const bool valid = token < here && column < m.tilesPerRow * tileColumnCount;
    ptx::copyAsync16Zero(own + 16 * i, p.codes + (valid ? (size_t)(first + token) * p.codeStride + column : 0), valid);
  }
  ptx::commitAsync();
  if ((int)threadIdx.x < here) {
    scratch.scales[threadIdx.x] = 1;
    scratch.sums[threadIdx.x] = p.sums[first + threadIdx.x];
  }
  ptx::waitAsync<0>();
  __syncthreads();
  gemm.run(own, here, first, p.target, scratch);
}
