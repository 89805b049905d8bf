// One decode step of 1 to 8 sequences in one cooperative launch: embedding, all layers, output head.
//
// Shapes: those of gemv.cu or few.cu, attention_decode.cu and head.cu.
// Bytes: all ternary weights, the cache so far and the head, once.
// Bound by: memory, if the hand-overs between phases hide. There are five a layer, each a barrier of the whole grid. Before a block waits at
// one, and after it has said that it is there, it asks for its share of the next phase's weights: its threads' first loads are under way, into
// registers, and the rest on its way to the second-level cache, as are the keys and values. Which bytes a block needs does not depend on the token.
// Launch: cooperative, 256 threads, as many blocks as are resident at once; shared memory: the most that a phase needs.
#include "attention_decode.cuh"
#include "few.cuh"
#include "gemv.cuh"
#include "head.cuh"

__device__ __forceinline__ Matrix matrixOf(const DecodeModel &d, const DecodeLayer &layer, int kind) {
  Matrix m = d.shapes[kind];
  m.tiles = layer.tiles[kind];
#pragma unroll
  for (int i = 0; i < 3; i++) m.part[i].scale = layer.scales[kind][i];
  return m;
}

/// Asks for this block's share of a matrix, beyond what its threads load at once, to come to the second-level cache.
template <Outcome outcome> __device__ __forceinline__ void prefetchShare(const Matrix &m, int split) {
  const int teams = blockWarps / split;
  for (int first = blockIdx.x * teams; first < m.tileRows; first += gridDim.x * teams)
    for (int place = threadIdx.x; place < min(teams, m.tileRows - first) * m.tilesPerRow; place += blockThreads)
      ptx::prefetchL2(m.tiles + ((size_t)tileRow<outcome>(m, first + place / m.tilesPerRow) * m.tilesPerRow + place % m.tilesPerRow) * 8);
}

/// A product phase: hand-over, during which the first loads start, norm and quantiser, the share's products.
template <bool isSingle, Outcome outcome>
__device__ __forceinline__ void productPhase(const DecodeModel &d, const DecodeLayer &layer, int kind, int tokens, const float *x, int xStride,
                                             const Target &target, unsigned char *shared) {
  const Matrix m = matrixOf(d, layer, kind);
  const unsigned ticket = ptx::gridArrive(d.barrier);
  if (isSingle) {
    GemvScratch &scratch = *(GemvScratch *)shared;
    int8_t *codes = (int8_t *)(shared + sizeof(GemvScratch));
    Gemv<outcome> gemv(m, d.splits[kind], blockIdx.x, gridDim.x);
    prefetchShare<outcome>(m, d.splits[kind]);
    ptx::gridWait(d.barrier, ticket);
    int sum;
    const float s = blockQuantize(x, layer.norms[kind], d.epsilon, m.columns, codes, m.tilesPerRow * tileColumnCount, sum, scratch.row);
    gemv.run(codes, sum, s, target, scratch);
  } else {
    FewScratch &scratch = *(FewScratch *)shared;
    int8_t *codes = (int8_t *)(shared + sizeof(FewScratch));
    FewGemm<outcome> gemm(m, d.splits[kind], blockIdx.x, gridDim.x);
    prefetchShare<outcome>(m, d.splits[kind]);
    ptx::gridWait(d.barrier, ticket);
    quantizeFew(x, xStride, layer.norms[kind], d.epsilon, m, tokens, codes, scratch);
    gemm.run(codes, tokens, 0, target, scratch);
  }
}

/// rows: 0, 1, …; ids, slots, positions [tokens]. With computesHead, logits [tokens][vocabulary] and best [tokens] as head does.
template <bool isSingle>
__device__ __forceinline__ void decodeStep(const DecodeModel &d, int tokens, const int *ids, const int *rows, const int *slots, const int *positions,
                                           int computesHead, float *logits, uint64 *best, unsigned char *shared) {
  const int hidden = d.head.hidden;
  for (int place = blockIdx.x * blockThreads + threadIdx.x; place < tokens * hidden; place += gridDim.x * blockThreads)
    d.x[place] = fromBFloat16(d.embedding[(size_t)ids[place / hidden] * hidden + place % hidden]);
  const Target qkv = {d.qkv, widthOf(d.attention.heads), 0}, residual = {d.x, hidden, 0}, inner = {d.inner, d.innerStride, d.isSquaredReLU};
  for (int index = 0; index < d.layerCount; index++) {
    const DecodeLayer &layer = d.layers[index];
    productPhase<isSingle, project>(d, layer, 0, tokens, d.x, hidden, qkv, shared);

    // The items of all tokens in one row, a chunk of a head each, dealt out to the blocks in turn. What earlier steps put into the
    // cache can come while the block waits for this step's queries.
    const unsigned ticket = ptx::gridArrive(d.barrier);
    const int heads = d.attention.heads.keyValueHeads;
    for (int token = 0, item = blockIdx.x; token < tokens; token++) {
      const int items = (positions[token] / chunkLength + 1) * heads;
      for (; item < items; item += gridDim.x) prefetchPart(d.attention, index, slots[token], item % heads, item / heads);
      item -= items;
    }
    ptx::gridWait(d.barrier, ticket);
    for (int token = 0, item = blockIdx.x; token < tokens; token++) {
      const int items = (positions[token] / chunkLength + 1) * heads;
      for (; item < items; item += gridDim.x)
        attendPart(d.attention, index, token, token, slots[token], item % heads, item / heads, positions[token], shared);
      item -= items;
    }
    productPhase<isSingle, addToResidual>(d, layer, 1, tokens, d.inner, d.innerStride, residual, shared);
    productPhase<isSingle, activate>(d, layer, 2, tokens, d.x, hidden, inner, shared);
    productPhase<isSingle, addToResidual>(d, layer, 3, tokens, d.inner, d.innerStride, residual, shared);
  }
  if (!computesHead) return;
  ptx::gridWait(d.barrier, ptx::gridArrive(d.barrier));
  if (isSingle)
    computeLogits<1>(d.head, d.x, rows, tokens, logits, best, shared);
  else
    computeLogits<fewTokens>(d.head, d.x, rows, tokens, logits, best, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
decode_one(const __grid_constant__ DecodeModel d, const int *ids, const int *rows, const int *slots, const int *positions, int computesHead,
           float *logits, uint64 *best) {
  DYNAMIC_SHARED(shared);
  decodeStep<true>(d, 1, ids, rows, slots, positions, computesHead, logits, best, shared);
}

extern "C" __global__ void __launch_bounds__(256, 1)
decode_few(const __grid_constant__ DecodeModel d, int tokens, const int *ids, const int *rows, const int *slots, const int *positions,
           int computesHead, float *logits, uint64 *best) {
  DYNAMIC_SHARED(shared);
  decodeStep<false>(d, tokens, ids, rows, slots, positions, computesHead, logits, best, shared);
}
