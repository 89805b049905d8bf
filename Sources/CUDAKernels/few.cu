// W2A8 product of 2 to 8 tokens with a ternary matrix, N rows × K columns; more tokens in groups of 8.
//
// Shapes: tiles [N/16][K/32] of 128 bytes; x [tokens][xStride], norm [K]; out [tokens][stride].
// Bytes: N·K/4 of weights from memory, once for each group of eight tokens (from the second-level cache after the
// first). Bound by: memory. A warp keeps three groups of four tiles (1.5 KB) in flight; a mask and a quarter of an mma
// do 32 weights × 8 tokens. Launch: 256 threads; grid (any number of blocks, groups of eight tokens); split 1, 2, 4 or
// 8 warps a tile row (at most 4 for few_activate); shared memory sizeof(FewScratch) + 8 · fewStride, and the norm's
// weights of rows that registers hold.
#include "few.cuh"

__device__ __forceinline__ void fewGemm(Outcome outcome, const Matrix &m, int split, const float *x, int xStride, const float *norm, float epsilon, int tokens,
                                        const Target &target, unsigned char *shared) {
  FewScratch &scratch = *(FewScratch *)shared;
  int8_t *codes = (int8_t *)(shared + sizeof(FewScratch));
  float *staged = (float *)(codes + fewTokens * fewStride(m.tilesPerRow));
  FewGemm gemm(m, outcome, split, blockIdx.x, gridDim.x);
  stageNorm(norm, m.columns, staged);
  ptx::commitAsync();
  const int first = blockIdx.y * fewTokens, here = min(fewTokens, tokens - first);
  quantizeFew(x + (size_t)first * xStride, xStride, norm, staged, epsilon, m, here, codes, scratch);
  gemm.run(codes, here, first, target, scratch);
}

extern "C" __global__ void __launch_bounds__(256, 2)
few_project(const Matrix m, int split, const float *x, int xStride, const float *norm, float epsilon, int tokens, const Target target) {
  DYNAMIC_SHARED(shared);
  fewGemm(project, m, split, x, xStride, norm, epsilon, tokens, target, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
few_add(const Matrix m, int split, const float *x, int xStride, const float *norm, float epsilon, int tokens, const Target target) {
  DYNAMIC_SHARED(shared);
  fewGemm(addToResidual, m, split, x, xStride, norm, epsilon, tokens, target, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
few_activate(const Matrix m, int split, const float *x, int xStride, const float *norm, float epsilon, int tokens, const Target target) {
  DYNAMIC_SHARED(shared);
  fewGemm(activate, m, split, x, xStride, norm, epsilon, tokens, target, shared);
}

/// The bare product of codes that are already there: codes [tokens][codeStride], sums [tokens]; codeStride a multiple
/// of 16, at least K rounded up to whole tiles, zero from K on.
extern "C" __global__ void __launch_bounds__(256, 2)
few_exact(const Matrix m, int split, const int8_t *codes, int codeStride, const int *sums, int tokens, const Target target) {
  DYNAMIC_SHARED(shared);
  FewScratch &scratch = *(FewScratch *)shared;
  int8_t *own = (int8_t *)(shared + sizeof(FewScratch));
  FewGemm gemm(m, exact, split, blockIdx.x, gridDim.x);
  const int first = blockIdx.y * fewTokens, here = min(fewTokens, tokens - first), stride = fewStride(m.tilesPerRow);
  for (int i = threadIdx.x; i < fewTokens * stride / 16; i += blockThreads) {
    const int token = 16 * i / stride, column = 16 * i % stride;
    const bool valid = token < here && column < m.tilesPerRow * tileColumnCount;
    ptx::copyAsync16Zero(own + 16 * i, codes + (valid ? (size_t)(first + token) * codeStride + column : 0), valid);
  }
  ptx::commitAsync();
  if ((int)threadIdx.x < here) {
    scratch.scales[threadIdx.x] = 1;
    scratch.sums[threadIdx.x] = sums[first + threadIdx.x];
  }
  ptx::waitAsync<0>();
  __syncthreads();
  gemm.run(own, here, first, target, scratch);
}
