// The output head in full: logits of 1 to 8 tokens for the whole vocabulary.
//
// Shapes: x [rows][hidden] (before the final norm); table [vocabulary][hidden] bfloat16; logits [outputs][vocabulary];
// best [outputs], zero before. Bytes: 2·vocabulary·hidden from memory for each group of tokens. Bound by: memory with
// one token; by fused multiply-adds (8 for each 16 bytes and token) from about eight on. Launch: 256 threads; grid (any
// number of blocks, groups of Tokens outputs); shared memory sizeof(RowScratch) + 64·Tokens + Tokens·rowFloats·4.
#include "head.cuh"

/// The block's group of outputs; rows [outputs]: which row of x an output belongs to.
template <int Tokens>
__device__ __forceinline__ void logitsOfGroup(const Head &head, const float *x, const int *rows, int outputs, float *logits, uint64 *best,
                                              unsigned char *shared) {
  const int first = blockIdx.y * Tokens;
  computeLogits<Tokens>(head, x, rows + first, min(Tokens, outputs - first), logits + (size_t)first * head.vocabulary, best + first, shared);
}

extern "C" __global__ void __launch_bounds__(256, 3)
head_1(const Head head, const float *x, const int *rows, int outputs, float *logits, uint64 *best) {
  DYNAMIC_SHARED(shared);
  logitsOfGroup<1>(head, x, rows, outputs, logits, best, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
head_4(const Head head, const float *x, const int *rows, int outputs, float *logits, uint64 *best) {
  DYNAMIC_SHARED(shared);
  logitsOfGroup<4>(head, x, rows, outputs, logits, best, shared);
}

extern "C" __global__ void __launch_bounds__(256, 1)
head_8(const Head head, const float *x, const int *rows, int outputs, float *logits, uint64 *best) {
  DYNAMIC_SHARED(shared);
  logitsOfGroup<8>(head, x, rows, outputs, logits, best, shared);
}
