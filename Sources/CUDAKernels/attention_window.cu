// Attention of neighbouring tokens of a sequence to any positions around them, with heads of any size, for one layer:
// windows, attention to later tokens, and prompts of heads that attend_prompt is too small for. Keys and values of all
// tokens are in the cache already.
//
// Shapes: qkv [rows][(queryHeads + 2·keyValueHeads)·size] with rotated queries; cache pages of 64 positions; out
// [rows][outStride]. Work: 2·size fused multiply-adds for each query and key in a chunk that one of the tile's queries
// sees; longer heads go in slices of 128 elements, and each slice of the values, which has a block of its own, computes
// the scores anew. Bytes: each block reads the chunks that its queries see once, from the second-level cache. Bound by:
// fused multiply-adds. A thread has 4 queries × 4 keys × the 4 lanes of the canonical order, then the same 4 queries ×
// 8 elements, in registers; the 16 threads that share queries are half of a warp, as in attend_prompt. Launch: 128
// threads; grid (tiles, keyValueHeads, slices of a head times parts of a group of more than 32 heads); shared memory
// sizeof(WindowScratch).
#include "attention_tile.cuh"

constexpr int tileQueries = windowTileQueries, ownQueries = 4;  // of a block and of a thread
constexpr int sliceSize = windowSlice;
static_assert(tileQueries * sharers == tileThreads * ownQueries && sliceSize == tileElements);

/// Strides are chosen so that neighbouring threads read from different banks. Query q is row q % 4 of group q / 4.
struct alignas(16) WindowScratch {
  float queries[tileQueries / ownQueries][ownQueries * sliceSize + 4];
  uint16_t keys[chunkLength][keyStride];
  uint16_t values[chunkLength][keyStride];
  float shares[tileQueries / ownQueries][ownQueries * chunkLength + 16];
};
static_assert(sizeof(WindowScratch) == windowScratchBytes);

/// Elements of a slice of the heads, a multiple of 8.
__device__ __forceinline__ int widthOfSlice(const Heads &h, int slice) {
  return min(sliceSize, h.padded - slice * sliceSize);
}

/// Starts copying a slice of the 64 rows of a page part.
__device__ __forceinline__ void copySlice(uint16_t (&to)[chunkLength][keyStride], const uint16_t *part, const Heads &h,
                                          int slice) {
  const int runs = widthOfSlice(h, slice) / 8;
#pragma unroll 1
  for (int place = threadIdx.x; place < chunkLength * runs; place += tileThreads)
    ptx::copyAsync16(&to[place / runs][place % runs * 8],
                     part + place / runs * h.padded + slice * sliceSize + place % runs * 8);
  ptx::commitAsync();
}

/// A thread's part of the scores of a chunk: its queries with keys x, x + 16, x + 32, x + 48.
typedef float Scores[ownQueries][ownKeys];

/// The positions `low` to `high - 1`.
struct Range {
  int low, high;
};

/// The positions that a token of a tile attends to: its own is always one of them.
__device__ __forceinline__ Range seenBy(const AttendWindowParameters &p, const QueryTile &tile, int end, int token) {
  const int position = tile.firstPosition + token;
  return Range{max(0, position + 1 - p.window), p.isBidirectional ? min(end, position + p.window) : position + 1};
}

/// Adds a position's value to the sums of the queries that `isSeen` names.
template <class IsSeen>
__device__ __forceinline__ void addValue(float (&sum)[ownQueries][8], const uint16_t *from, const float *shares,
                                         IsSeen isSeen) {
  const Run value(from);
#pragma unroll
  for (int i = 0; i < ownQueries; i++)
    if (isSeen(i)) value.add(shares[i * chunkLength], sum[i]);
}

extern "C" __global__ void __launch_bounds__(128, 2)
attend_window(const AttendWindowParameters p) {
  DYNAMIC_SHARED(shared);
  WindowScratch &scratch = *(WindowScratch *)shared;
  const Heads &h = p.heads;
  const QueryTile tile = p.tiles[blockIdx.x];
  const int head = blockIdx.y, group = groupOf(h), slices = (h.padded + sliceSize - 1) / sliceSize;
  const int ownSlice = blockIdx.z % slices, firstOfGroup = blockIdx.z / slices * tileQueries;
  const int heads = min(tileQueries, group - firstOfGroup);  // of each token, in this block
  const int queries = tile.tokens * heads, firstHead = head * group + firstOfGroup;
  const int y = threadIdx.x / sharers, x = threadIdx.x % sharers;
  const int end = p.ends[tile.slot];
  const int firstChunk = seenBy(p, tile, end, 0).low / chunkLength,
            chunks = (seenBy(p, tile, end, tile.tokens - 1).high - 1) / chunkLength + 1;

  uint16_t *page = pageOf(p.pages, tile.slot, firstChunk);
  copyQueries<ownQueries>(scratch.queries, h, tile, firstHead, heads, p.qkv, 0);
  copySlice(scratch.keys, partOfPage(page, h, p.layer, false, head), h, 0);
  // Warps beyond the tile's queries only copy.
  const bool works = threadIdx.x / warpThreads * (warpThreads / sharers) * ownQueries < queries;
  const float *ownRows = scratch.queries[y];
  float *shares = scratch.shares[y];
  // What the thread's queries see. Those beyond the tile's see what the last one does.
  Range seen[ownQueries];
#pragma unroll
  for (int i = 0; i < ownQueries; i++)
    seen[i] = seenBy(p, tile, end, min((y * ownQueries + i) / heads, tile.tokens - 1));
  // Of the chunks so far; each of the sixteen threads knows them for query x % 4.
  float largest = 0, total = 0;
  const int owned = x % ownQueries, firstSharer = threadIdx.x % warpThreads / sharers * sharers;
  float running[ownQueries][8] = {};
#pragma unroll 1
  for (int chunk = firstChunk; chunk < chunks; chunk++) {
    const int start = chunk * chunkLength;
    // The chunk's positions that a query sees, perhaps none, and whether they are the first that it sees.
    const auto from = [&](int i) { return min(max(seen[i].low - start, 0), chunkLength); };
    const auto to = [&](int i) { return min(max(seen[i].high - start, 0), chunkLength); };
    const auto isFirst = [&](int i) { return seen[i].low >= start; };
    Scores score[headLanes] = {};
#pragma unroll 1
    for (int slice = 0; slice < slices; slice++) {
      ptx::waitAsync<0>();
      __syncthreads();  // queries and keys have arrived, and all threads are done with the values before
      if (slice == slices - 1)
        copySlice(scratch.values, partOfPage(page, h, p.layer, true, head), h, ownSlice);
      if (works) {
#pragma unroll
        for (int lane = 0; lane < headLanes; lane++)
          addLane<ownQueries>(score[lane], ownRows, &scratch.keys[x][0], lane, widthOfSlice(h, slice));
      }
      if (slice == slices - 1) break;
      __syncthreads();  // all threads are done with these queries and keys
      copyQueries<ownQueries>(scratch.queries, h, tile, firstHead, heads, p.qkv, (slice + 1) * sliceSize);
      copySlice(scratch.keys, partOfPage(page, h, p.layer, false, head), h, slice + 1);
    }
    if (chunk + 1 < chunks) page = pageOf(p.pages, tile.slot, chunk + 1);  // used when the scores are there
    float before[ownQueries], now[ownQueries];
    if (works) {
      float ownMost = 0, ownSum = 0;
      bool ownIsFirst = false, ownIsSeen = false;
      const float none = -__int_as_float(0x7F800000);
#pragma unroll
      for (int i = 0; i < ownQueries; i++) {
        const int low = from(i), high = to(i);
        const auto isSeen = [&](int j) { return x + sharers * j >= low && x + sharers * j < high; };
        float own[ownKeys], candidate = none;
#pragma unroll
        for (int j = 0; j < ownKeys; j++) {
          const float even = __fadd_rn(score[0][i][j], score[2][i][j]),
                      odd = __fadd_rn(score[1][i][j], score[3][i][j]);
          own[j] = isSeen(j) ? __fmul_rn(__fadd_rn(even, odd), h.scale) : none;
          if (low >= sharers * j) candidate = own[j];  // at last that of the keys that `low` is among
        }
        const float first = __shfl_sync(0xFFFFFFFFu, candidate, firstSharer + low % sharers);
        float most = amongSharers(larger(larger(own[0], own[1]), larger(own[2], own[3])), larger);
        if (!(most > first)) most = first;  // a leading NaN stays, as in the reference
#pragma unroll
        for (int j = 0; j < ownKeys; j++) {
          own[j] = isSeen(j) ? exponential(__fsub_rn(own[j], most)) : 0.0f;
          shares[i * chunkLength + x + sharers * j] = own[j];
        }
        // 32 lanes: position p is in lane p % 32.
        const float sum = amongSharers(__fadd_rn(__fadd_rn(own[0], own[2]), __fadd_rn(own[1], own[3])),
                                       [](float a, float b) { return __fadd_rn(a, b); });
        if (i == owned) ownMost = most, ownSum = sum, ownIsFirst = isFirst(i), ownIsSeen = low < high;
      }
      // Some of the threads compute the factors of the chunks before, some those of this chunk.
      const float previous = ownIsFirst ? ownMost : largest, next = ownMost > previous ? ownMost : previous;
      const float factor = exponential(__fsub_rn(x / ownQueries % 2 == 0 ? previous : ownMost, next));
#pragma unroll
      for (int i = 0; i < ownQueries; i++) {
        before[i] = __shfl_sync(0xFFFFFFFFu, factor, firstSharer + i);
        now[i] = __shfl_sync(0xFFFFFFFFu, factor, firstSharer + ownQueries + i);
      }
      const float ownBefore = __shfl_sync(0xFFFFFFFFu, factor, firstSharer + owned);
      const float ownNow = __shfl_sync(0xFFFFFFFFu, factor, firstSharer + ownQueries + owned);
      if (ownIsSeen) {
        total = ownIsFirst ? ownSum : __fmaf_rn(ownSum, ownNow, __fmul_rn(total, ownBefore));
        largest = next;
      }
    }
    ptx::waitAsync<0>();
    __syncthreads();  // the values have arrived, and all threads are done with the queries and keys
    if (chunk + 1 < chunks) {
      if (slices > 1) copyQueries<ownQueries>(scratch.queries, h, tile, firstHead, heads, p.qkv, 0);
      copySlice(scratch.keys, partOfPage(page, h, p.layer, false, head), h, 0);
    }

    // Values: elements 8x … 8x + 7 of the slice, positions in ascending order.
    if (works && 8 * x < widthOfSlice(h, ownSlice)) {
      float sum[ownQueries][8] = {};
      // All of the queries see the positions from `common` to before `last`, in whole fours; the first query sees the
      // first positions, and the last query the last ones. A weight of zero leaves a sum as it is, except for a value
      // that is not finite at a position that a query does not see.
      const int stop = to(ownQueries - 1);
      int common = (from(ownQueries - 1) + 3) / 4 * 4, last = to(0) / 4 * 4;
      if (common >= last) common = last = stop;
      const uint16_t *values = &scratch.values[0][8 * x];
      const auto addSome = [&](int first, int past) {
#pragma unroll 1
        for (int p = first; p < past; p++)
          addValue(sum, values + p * keyStride, shares + p, [&](int i) { return p >= from(i) && p < to(i); });
      };
      addSome(from(0), common);
#pragma unroll 1
      for (int p = common; p < last; p += 4) {
#pragma unroll
        for (int k = 0; k < 4; k++)
          addValue(sum, values + (p + k) * keyStride, shares + p + k, [](int) { return true; });
      }
      addSome(last, stop);
#pragma unroll
      for (int i = 0; i < ownQueries; i++) {
        if (from(i) >= to(i)) continue;
#pragma unroll
        for (int e = 0; e < 8; e++)
          running[i][e] = isFirst(i) ? sum[i][e] : __fmaf_rn(sum[i][e], now[i], __fmul_rn(running[i][e], before[i]));
      }
    }
  }
  const float reciprocal = __fdiv_rn(1.0f, total);
#pragma unroll
  for (int i = 0; i < ownQueries; i++) {
    const int q = y * ownQueries + i;
    const float factor = __shfl_sync(0xFFFFFFFFu, reciprocal, firstSharer + i);
    if (q >= queries) continue;
    const int first = ownSlice * sliceSize + 8 * x;  // of the head
    float *row = p.out + (size_t)(tile.firstRow + q / heads) * p.outStride + (firstHead + q % heads) * h.size + first;
#pragma unroll
    for (int e = 0; e < 8; e++)
      if (first + e < h.size) row[e] = __fmul_rn(running[i][e], factor);
  }
}
