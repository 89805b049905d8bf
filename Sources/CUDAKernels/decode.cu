// One decode step of a few sequences in one cooperative launch: embedding, all layers, output head.
//
// Shapes: those of few.cu, attention_decode.cu and head.cu.
// Bytes: all ternary weights, the cache so far and the head, once.
// Bound by: memory, if the hand-overs between phases are hidden. There are five a layer, each a barrier of the whole
// grid. After a block has arrived at one, and before it waits, it asks for its share of the next phase's weights: its
// threads' first loads go into registers, the norm's weights into shared memory, and the rest into the second-level
// cache, as do the keys and values. The bytes that a block needs do not depend on the token. Launch: cooperative, 256
// threads, as many blocks as are resident at once; shared memory: StepScratch and the most that a phase needs.
#include "attention_decode.cuh"
#include "few.cuh"
#include "head.cuh"

static_assert(fewTokens == outputGroup);

/// The state that a block keeps throughout the step, at the beginning of its shared memory. Positions and slots are
/// read once: the sampler changes them between steps. A layer's entry of the table is copied while the layer before it
/// ends.
struct alignas(16) StepScratch {
  DecodeLayer layers[2];
  int positions[fewTokens];
  int slots[fewTokens];
};
static_assert(sizeof(StepScratch) == stepScratchBytes);

/// Starts copying a layer's entry of the table.
__device__ __forceinline__ void fetchLayer(const DecodeModel &d, int index, StepScratch &step) {
  if (index < d.layerCount && threadIdx.x < layerWords)
    ptx::copyAsync16((uint4 *)&step.layers[index % 2] + threadIdx.x, (const uint4 *)(d.layers + index) + threadIdx.x);
}

/// Prefetches some neighbouring tile rows into the second-level cache.
__device__ __forceinline__ void prefetchRows(const Matrix &m, int first, int count) {
  const uint4 *tiles = m.tiles + (size_t)first * m.tilesPerRow * 8;
  for (int tile = threadIdx.x; tile < count * m.tilesPerRow; tile += blockThreads) ptx::prefetchL2(tiles + tile * 8);
}

/// Prefetches this block's share of a matrix.
__device__ __forceinline__ void prefetchShare(const Matrix &m, Outcome outcome, int split) {
  const int teams = blockWarps / split;
  for (int first = blockIdx.x * teams; first < m.tileRows; first += gridDim.x * teams) {
    // Gate and up rows take turns: half of the rows belong to each part.
    const int rows = min(teams, m.tileRows - first), half = outcome == activate ? rows / 2 : rows;
    prefetchRows(m, tileRow(m, outcome, first), half);
    if (outcome == activate) prefetchRows(m, tileRow(m, outcome, first + 1), half);
  }
}

/// A block's marks of a phase in the trace.
__device__ __forceinline__ Marks marksOf([[maybe_unused]] const DecodeModel &d, [[maybe_unused]] int handOver) {
#ifdef DECODE_TRACE
  return Marks{d.trace + ((size_t)handOver * gridDim.x + blockIdx.x) * traceMarks};
#else
  return Marks{};
#endif
}

/// A block of the step, at one of its hand-overs.
struct Step {
  const DecodeModel &d;
  const int tokens;
  StepScratch &scratch;
  unsigned char *const shared;  // a phase's own memory
  int handOver = 0;

  __device__ __forceinline__ unsigned arrive() const { return ptx::gridArrive(d.barrier); }
  __device__ __forceinline__ void wait(unsigned ticket) { ptx::gridWait(d.barrier, ticket, handOver++, d.stalls); }

  /// A product phase: hand-over, during which the first loads start, norm and quantiser, the share's products.
  ///
  /// One body for all four matrices of a layer, so that a layer's code stays in the instruction cache.
  __device__ __forceinline__ void multiply(int index, int role) {
    Marks marks = marksOf(d, handOver);
    const unsigned ticket = arrive();
    marks.set(markArrived);
    const DecodeLayer &layer = scratch.layers[index % 2];
    const Matrix &m = layer.matrices[role];
    const float *x = readsInner(role) ? d.inner : d.x;
    const int xStride = readsInner(role) ? d.innerStride : d.head.hidden, split = d.splits[role];
    const Outcome outcome = outcomeOf(role);
    const Target target = {
        outcome == project ? d.qkv : outcome == activate ? d.inner : d.x,
        outcome == project ? widthOf(d.attention.heads) : outcome == activate ? d.innerStride : d.head.hidden,
        d.isSquaredReLU};
    if (role == roleDown) fetchLayer(d, index + 1, scratch);
    FewScratch &own = *(FewScratch *)shared;
    int8_t *codes = (int8_t *)(shared + sizeof(FewScratch));
    float *staged = (float *)(codes + fewTokens * fewStride(m.tilesPerRow));
    FewGemm gemm(m, outcome, split, blockIdx.x, gridDim.x);
    stageNorm(layer.norms[role], m.columns, staged);
    ptx::commitAsync();
    prefetchShare(m, outcome, split);
    ptx::waitAsync<0>();
    marks.set(markAsked);
    wait(ticket);
    marks.set(markReleased);
    quantizeFew(x, xStride, layer.norms[role], staged, d.epsilon, m, tokens, codes, own);
    marks.set(markQuantized);
    gemm.run(codes, tokens, 0, target, own);
    marks.set(markDone);
  }

  /// Attention of a layer. The items of all tokens form one list, a chunk of a head each, dealt out to the blocks in
  /// turn. Their keys and values, except those of this step, are prefetched into the second-level cache while the block
  /// waits for the queries.
  __device__ __forceinline__ void attend(int index) {
    Marks marks = marksOf(d, handOver);
    const unsigned ticket = arrive();
    marks.set(markArrived);
    forEachPart(index, [&](int, const ChunkPart &part) { prefetchChunk(d.attention.heads, part); });
    marks.set(markAsked);
    wait(ticket);
    marks.set(markReleased);
    forEachPart(index, [&](int token, const ChunkPart &part) { attendPart(d.attention, token, token, part, shared); });
    marks.set(markDone);
  }

  /// Calls body(token, part) for each of this block's items of a layer's attention.
  template <class Body> __device__ __forceinline__ void forEachPart(int index, Body body) const {
    const int heads = d.attention.heads.keyValueHeads;
    for (int token = 0, item = blockIdx.x; token < tokens; token++) {
      const int position = scratch.positions[token], items = (position / chunkLength + 1) * heads;
      for (; item < items; item += gridDim.x)
        body(token, ChunkPart(d.attention, index, scratch.slots[token], item % heads, item / heads, position));
      item -= items;
    }
  }

  __device__ __forceinline__ void run(const DecodeParameters &p) {
    const DecodeSequences &sequences = *p.sequences;
    if ((int)threadIdx.x < tokens) {
      scratch.positions[threadIdx.x] = sequences.positions[threadIdx.x];
      scratch.slots[threadIdx.x] = sequences.slots[threadIdx.x];
    }
    fetchLayer(d, 0, scratch);
    ptx::commitAsync();
    const int hidden = d.head.hidden;
    for (int place = blockIdx.x * blockThreads + threadIdx.x; place < tokens * hidden;
         place += gridDim.x * blockThreads)
      d.x[place] = fromBFloat16(d.embedding[(size_t)sequences.tokens[place / hidden] * hidden + place % hidden]);
    ptx::waitAsync<0>();
    // The first hand-over begins with a barrier of the block, after which all of this has arrived.
#pragma unroll 1
    for (int index = 0; index < d.layerCount; index++)
#pragma unroll 1
      for (int role = roleQueryKeyValue; role < roleCount; role++) {
        if (role == roleAttentionOutput) attend(index);
        multiply(index, role);
      }
    if (!p.computesHead) return;
    wait(arrive());
    computeLogits<fewTokens>(d.head, d.x, sequences.rows, tokens, p.logits, p.best, shared);
  }
};

#ifdef DECODE_TRACE
#define decode_few decode_few_traced
#endif

extern "C" __global__ void __launch_bounds__(256, 1)
decode_few(const __grid_constant__ DecodeParameters p) {
  DYNAMIC_SHARED(shared);
  Step step = {p.model, p.count, *(StepScratch *)shared, shared + sizeof(StepScratch)};
  step.run(p);
}
