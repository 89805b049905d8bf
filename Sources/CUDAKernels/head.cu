// The output head in full: logits of 1 to 8 tokens for the whole vocabulary.
//
// Shapes: x [rows][hidden] (before the final norm); table [vocabulary][hidden] bfloat16; logits [outputs][vocabulary]; best [outputs], zero before.
// Bytes: 2·vocabulary·hidden from memory for each group of tokens.
// Bound by: memory with one token; by fused multiply-adds (8 for each 16 bytes and token) from about eight on.
// Launch: 256 threads; grid (any number of blocks, groups of Tokens outputs); shared memory sizeof(RowScratch) + 64·Tokens + Tokens·rowFloats·4.
#include "head.cuh"

/// rows [outputs]: which row of x an output belongs to.
template <int Tokens>
__device__ __forceinline__ void logitsOf(const Head &head, const float *x, const int *rows, int outputs, float *logits, uint64 *best,
                                         unsigned char *shared) {
  RowScratch &scratch = *(RowScratch *)shared;
  uint64 *keys = (uint64 *)(shared + sizeof(RowScratch));
  float *normed = (float *)(shared + sizeof(RowScratch) + sizeof(uint64) * blockWarps * Tokens);
  const int first = blockIdx.y * Tokens, tokens = min(Tokens, outputs - first);
  normalizeForHead<Tokens>(head, x, rows + first, tokens, normed, scratch);
  uint64 own[Tokens] = {};
  for (int id = blockIdx.x * blockWarps + threadIdx.x / warpThreads; id < head.vocabulary; id += gridDim.x * blockWarps) {
    float logit[Tokens];
    dotRow<Tokens>(head, id, normed, logit);
#pragma unroll
    for (int t = 0; t < Tokens; t++) {
      const uint64 key = logitKey(logit[t], id);
      own[t] = key > own[t] ? key : own[t];
      if (threadIdx.x % warpThreads == t && t < tokens) logits[(size_t)(first + t) * head.vocabulary + id] = logit[t];
    }
  }
  publishBest<Tokens>(own, keys, tokens, best + first);
}

extern "C" __global__ void __launch_bounds__(256, 3)
head_1(const Head head, const float *x, const int *rows, int outputs, float *logits, uint64 *best) {
  DYNAMIC_SHARED(shared);
  logitsOf<1>(head, x, rows, outputs, logits, best, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
head_4(const Head head, const float *x, const int *rows, int outputs, float *logits, uint64 *best) {
  DYNAMIC_SHARED(shared);
  logitsOf<4>(head, x, rows, outputs, logits, best, shared);
}

extern "C" __global__ void __launch_bounds__(256, 1)
head_8(const Head head, const float *x, const int *rows, int outputs, float *logits, uint64 *best) {
  DYNAMIC_SHARED(shared);
  logitsOf<8>(head, x, rows, outputs, logits, best, shared);
}
