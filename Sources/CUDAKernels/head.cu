// The output head in full: logits of 1 to 8 tokens for the whole vocabulary.
//
// Shapes: x [rows][hidden] (before the final norm); table [vocabulary][hidden] bfloat16; logits [outputs][vocabulary];
// best [outputs], zero before. Bytes: 2·vocabulary·hidden from memory for each group of tokens. Bound by: memory with
// one token; by fused multiply-adds (8 for each 16 bytes and token) from about eight on. Launch: 256 threads; grid (any
// number of blocks, groups of Tokens outputs); shared memory sizeof(RowScratch) + 64·Tokens + Tokens·rowFloats·4.
#include "head.cuh"

/// The block's group of outputs.
template <int Tokens> __device__ __forceinline__ void logitsOfGroup(const HeadParameters &p, unsigned char *shared) {
  const int first = blockIdx.y * Tokens;
  computeLogits<Tokens>(p.head, p.x, p.rows + first, min(Tokens, p.outputs - first),
                        p.logits + (size_t)first * p.head.vocabulary, p.best + first, shared);
}

extern "C" __global__ void __launch_bounds__(256, 3)
head_1(const HeadParameters p) {
  DYNAMIC_SHARED(shared);
  logitsOfGroup<1>(p, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
head_4(const HeadParameters p) {
  DYNAMIC_SHARED(shared);
  logitsOfGroup<4>(p, shared);
}

extern "C" __global__ void __launch_bounds__(256, 1)
head_8(const HeadParameters p) {
  DYNAMIC_SHARED(shared);
  logitsOfGroup<8>(p, shared);
}
