// Causal attention of a prompt's tokens over the cache, for one layer. Keys and values of the tokens are in the cache
// already.
//
// Shapes: qkv [rows][(queryHeads + 2·keyValueHeads)·size] with rotated queries; cache pages of 64 positions; out
// [rows][outStride]. Work: 2·size fused multiply-adds for each query and key; no tensor cores, because they do not add
// in the canonical order. Bytes: each block reads the cache up to its last position once, from the second-level cache.
// Bound by: fused multiply-adds. A thread has 8 queries × 4 keys, then the same 8 queries × 8 elements, in registers.
// The 16 threads that share queries are half of a warp, so that scores, softmax and weights never leave it: the block's
// barriers are for keys and values alone, one of which is loaded while the other is used. Launch: 128 threads; grid
// (keyValueHeads, tiles, parts of a group of more than 64 heads); shared memory sizeof(TileScratch).
#include "attention_tile.cuh"

constexpr int tileQueries = 64, ownQueries = 8;  // of a block and of a thread
constexpr int maximumSize = tileElements;

/// Strides are chosen so that neighbouring threads read from different banks. Query q is row q % 8 of group q / 8.
struct alignas(16) TileScratch {
  float queries[tileQueries / ownQueries][ownQueries * maximumSize + 4];
  uint16_t keys[chunkLength][keyStride];
  uint16_t values[chunkLength][keyStride];
  float shares[tileQueries / ownQueries][ownQueries * chunkLength + 16];
};
static_assert(sizeof(TileScratch) == tileScratchBytes);

/// Starts copying the 64 rows of a page part.
__device__ __forceinline__ void copyPart(uint16_t (&to)[chunkLength][keyStride], const uint16_t *from, int padded) {
  if (padded == maximumSize) {  // the usual size, without divisions
    constexpr int runs = maximumSize / 8;
#pragma unroll
    for (int place = 0; place < chunkLength * runs; place += tileThreads)
      ptx::copyAsync16(&to[(place + threadIdx.x) / runs][threadIdx.x % runs * 8], from + 8 * (place + threadIdx.x));
  } else {
    const int runs = padded / 8;
    for (int place = threadIdx.x; place < chunkLength * runs; place += tileThreads)
      ptx::copyAsync16(&to[place / runs][place % runs * 8], from + 8 * place);
  }
  ptx::commitAsync();
}

/// A thread's part of the scores of a chunk: its queries with keys x, x + 16, x + 32, x + 48.
typedef float Scores[ownQueries][ownKeys];

extern "C" __global__ void __launch_bounds__(128, 2)
attend_prompt(const AttendPromptParameters p) {
  DYNAMIC_SHARED(shared);
  TileScratch &scratch = *(TileScratch *)shared;
  const Heads &h = p.heads;
  const QueryTile tile = p.tiles[blockIdx.y];
  const int head = blockIdx.x, group = groupOf(h), firstOfGroup = blockIdx.z * tileQueries;
  const int heads = min(tileQueries, group - firstOfGroup);  // of each token, in this block
  const int queries = tile.tokens * heads;
  const int y = threadIdx.x / sharers, x = threadIdx.x % sharers;
  const int chunks = (tile.firstPosition + tile.tokens - 1) / chunkLength + 1;

  uint16_t *page = pageOf(p.pages, tile.slot, 0);
  copyQueries<ownQueries>(scratch.queries, h, tile, head * group + firstOfGroup, heads, p.qkv, 0);
  copyPart(scratch.keys, partOfPage(page, h, p.layer, false, head), h.padded);
  // Warps beyond the tile's queries only copy.
  const bool works = threadIdx.x / warpThreads * (warpThreads / sharers) * ownQueries < queries;
  const float *ownRows = scratch.queries[y];
  float *shares = scratch.shares[y];
  // A query's token in the tile, a byte each.
  unsigned tokens[2] = {};
#pragma unroll
  for (int i = 0; i < ownQueries; i++) tokens[i / 4] |= (unsigned)((y * ownQueries + i) / heads) << i % 4 * 8;
  // Of the chunks so far; each of the sixteen threads knows them for query x % 8.
  float largest = 0, total = 0;
  const int owned = x % ownQueries, firstSharer = threadIdx.x % warpThreads / sharers * sharers;
  float running[ownQueries][8] = {};
  for (int chunk = 0; chunk < chunks; chunk++) {
    // Positions of the chunk that a query sees: perhaps all or more, perhaps none.
    const int firstCount = tile.firstPosition + 1 - chunk * chunkLength;
    const auto countOf = [&](int i) { return firstCount + (int)(tokens[i / 4] >> i % 4 * 8 & 255u); };
    ptx::waitAsync<0>();
    __syncthreads();  // the keys have arrived, and all threads are done with the values before
    copyPart(scratch.values, partOfPage(page, h, p.layer, true, head), h.padded);
    if (chunk + 1 < chunks) page = pageOf(p.pages, tile.slot, chunk + 1);  // used when the scores are there
    float before[ownQueries], now[ownQueries];
    if (works) {
      // Lanes in the order 0, 2, 1, 3, in which they are combined.
      Scores score = {};
      addLane<ownQueries>(score, ownRows, &scratch.keys[x][0], 0, h.padded);
      {
        Scores other = {};
        addLane<ownQueries>(other, ownRows, &scratch.keys[x][0], 2, h.padded);
#pragma unroll
        for (int i = 0; i < ownQueries; i++)
#pragma unroll
          for (int j = 0; j < ownKeys; j++) score[i][j] = __fadd_rn(score[i][j], other[i][j]);
      }
      // For lack of registers the sum waits in shared memory, where the weights will be.
#pragma unroll
      for (int i = 0; i < ownQueries; i++)
#pragma unroll
        for (int j = 0; j < ownKeys; j++) shares[i * chunkLength + x + 16 * j] = score[i][j], score[i][j] = 0;
      addLane<ownQueries>(score, ownRows, &scratch.keys[x][0], 1, h.padded);
      {
        Scores other = {};
        addLane<ownQueries>(other, ownRows, &scratch.keys[x][0], 3, h.padded);
#pragma unroll
        for (int i = 0; i < ownQueries; i++)
#pragma unroll
          for (int j = 0; j < ownKeys; j++) {
            const float sum = __fadd_rn(shares[i * chunkLength + x + 16 * j], __fadd_rn(score[i][j], other[i][j]));
            score[i][j] = __fmul_rn(sum, h.scale);
          }
      }
      float ownMost = 0, ownSum = 0;
      const float none = -__int_as_float(0x7F800000);
#pragma unroll
      for (int i = 0; i < ownQueries; i++) {
        const int count = countOf(i);
#pragma unroll
        for (int j = 0; j < ownKeys; j++) score[i][j] = x + 16 * j < count ? score[i][j] : none;
        const float first = __shfl_sync(0xFFFFFFFFu, score[i][0], firstSharer);
        float most = amongSharers(larger(larger(score[i][0], score[i][1]), larger(score[i][2], score[i][3])), larger);
        if (!(most > first)) most = first;  // a leading NaN stays, as in the reference
#pragma unroll
        for (int j = 0; j < ownKeys; j++) {
          score[i][j] = x + 16 * j < count ? exponential(__fsub_rn(score[i][j], most)) : 0.0f;
          shares[i * chunkLength + x + 16 * j] = score[i][j];
        }
        // 32 lanes: position p is in lane p % 32.
        const float low = __fadd_rn(score[i][0], score[i][2]), high = __fadd_rn(score[i][1], score[i][3]);
        const float sum = amongSharers(__fadd_rn(low, high), [](float a, float b) { return __fadd_rn(a, b); });
        if (i == owned) ownMost = most, ownSum = sum;
      }
      // The first eight threads compute the factors of the chunks before, the others those of this chunk.
      const float previous = chunk == 0 ? ownMost : largest, next = ownMost > previous ? ownMost : previous;
      const float factor = exponential(__fsub_rn(x < ownQueries ? previous : ownMost, next));
#pragma unroll
      for (int i = 0; i < ownQueries; i++) {
        before[i] = __shfl_sync(0xFFFFFFFFu, factor, firstSharer + i);
        now[i] = __shfl_sync(0xFFFFFFFFu, factor, firstSharer + ownQueries + i);
      }
      const float ownBefore = __shfl_sync(0xFFFFFFFFu, factor, firstSharer + owned);
      const float ownNow = __shfl_sync(0xFFFFFFFFu, factor, firstSharer + ownQueries + owned);
      if (firstCount + (y * ownQueries + owned) / heads > 0) {
        total = chunk == 0 ? ownSum : __fmaf_rn(ownSum, ownNow, __fmul_rn(total, ownBefore));
        largest = next;
      }
    }
    ptx::waitAsync<0>();
    __syncthreads();  // the values have arrived, and all threads are done with the keys
    if (chunk + 1 < chunks) copyPart(scratch.keys, partOfPage(page, h, p.layer, false, head), h.padded);

    // Values: elements 8x … 8x + 7, positions in ascending order.
    if (works && 8 * x < h.padded) {
      float sum[ownQueries][8] = {};
      // All of the queries see the positions before `common`, and the last of them sees those before `last`.
      const int last = min(chunkLength, countOf(ownQueries - 1)), common = max(0, min(chunkLength, countOf(0))) / 4 * 4;
      const uint16_t *values = &scratch.values[0][8 * x];
#pragma unroll 1
      for (int p = 0; p < common; p += 4) {
        float4 weight[ownQueries];
#pragma unroll
        for (int i = 0; i < ownQueries; i++) weight[i] = *(const float4 *)(shares + i * chunkLength + p);
#pragma unroll
        for (int k = 0; k < 4; k++) {
          const Run value(values + (p + k) * keyStride);
#pragma unroll
          for (int i = 0; i < ownQueries; i++)
            value.add(k == 0 ? weight[i].x : k == 1 ? weight[i].y : k == 2 ? weight[i].z : weight[i].w, sum[i]);
        }
      }
      // A weight of zero leaves a sum as it is, except for a value that is not finite at a position that a query does
      // not see yet.
#pragma unroll 1
      for (int p = common; p < last; p++) {
        const Run value(values + p * keyStride);
#pragma unroll
        for (int i = 0; i < ownQueries; i++)
          if (p < countOf(i)) value.add(shares[i * chunkLength + p], sum[i]);
      }
#pragma unroll
      for (int i = 0; i < ownQueries; i++) {
        if (countOf(i) <= 0) continue;
#pragma unroll
        for (int e = 0; e < 8; e++)
          running[i][e] = chunk == 0 ? sum[i][e] : __fmaf_rn(sum[i][e], now[i], __fmul_rn(running[i][e], before[i]));
      }
    }
  }
  const float reciprocal = __fdiv_rn(1.0f, total);
#pragma unroll
  for (int i = 0; i < ownQueries; i++) {
    const int q = y * ownQueries + i;
    const float factor = __shfl_sync(0xFFFFFFFFu, reciprocal, firstSharer + i);
    if (q >= queries) continue;
    float *row =
        p.out + (size_t)(tile.firstRow + q / heads) * p.outStride + (head * group + firstOfGroup + q % heads) * h.size;
#pragma unroll
    for (int e = 0; e < 8; e++)
      if (8 * x + e < h.size) row[8 * x + e] = __fmul_rn(running[i][e], factor);
  }
}
