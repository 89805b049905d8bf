// Causal attention of a prompt's tokens over the cache, for one layer. Keys and values of the tokens are in the cache already.
//
// Shapes: qkv [rows][(queryHeads + 2·keyValueHeads)·size] with rotated queries; cache pages of 64 positions; out [rows][outStride].
// Work: 2·size fused multiply-adds for each query and key; no tensor cores, because they do not add in the canonical order.
// Bytes: each block reads the cache up to its last position once, from the second-level cache.
// Bound by: fused multiply-adds. A thread has 4 queries × 4 keys, then 4 queries × 8 elements, in registers.
// Launch: 256 threads; grid (tiles, keyValueHeads, parts of a group of more than 64 heads); shared memory sizeof(TileScratch).
#include "cache.cuh"

constexpr int tileQueries = 64, maximumSize = 128;
constexpr int queryStride = maximumSize + 4, keyStride = maximumSize + 8, shareStride = chunkLength + 4;

/// Strides are 16 bytes more than the rows, so that threads on neighbouring rows use different banks.
struct alignas(16) TileScratch {
  float queries[tileQueries][queryStride];
  uint16_t keys[chunkLength][keyStride];
  uint16_t values[chunkLength][keyStride];
  float shares[tileQueries][shareStride];
  float largest[tileQueries], total[tileQueries], before[tileQueries], now[tileQueries];
};
static_assert(sizeof(TileScratch) == tileScratchBytes);

/// Eight elements of a position's value.
struct ValueRun {
  float element[8];

  __device__ __forceinline__ ValueRun(const TileScratch &scratch, int position, int run) {
    const uint4 v = *(const uint4 *)&scratch.values[position][8 * run];
    element[0] = lowBFloat16(v.x), element[1] = highBFloat16(v.x), element[2] = lowBFloat16(v.y), element[3] = highBFloat16(v.y);
    element[4] = lowBFloat16(v.z), element[5] = highBFloat16(v.z), element[6] = lowBFloat16(v.w), element[7] = highBFloat16(v.w);
  }
  __device__ __forceinline__ void add(float weight, float (&sum)[8]) const {
#pragma unroll
    for (int e = 0; e < 8; e++) sum[e] = __fmaf_rn(weight, element[e], sum[e]);
  }
};

/// Copies 64 rows of a page part.
__device__ __forceinline__ void copyPart(uint16_t (&to)[chunkLength][keyStride], const uint16_t *from, int padded) {
  for (int place = threadIdx.x; place < chunkLength * padded / 8; place += blockThreads) {
    const int row = place / (padded / 8), column = place % (padded / 8) * 8;
    ptx::copyAsync16(&to[row][column], from + row * padded + column);
  }
}

extern "C" __global__ void __launch_bounds__(256, 2)
attend_prompt(const Heads h, const Pages pages, int layer, const QueryTile *tiles, const float *qkv, float *out, int outStride) {
  DYNAMIC_SHARED(shared);
  TileScratch &scratch = *(TileScratch *)shared;
  const QueryTile tile = tiles[blockIdx.x];
  const int head = blockIdx.y, group = groupOf(h), firstOfGroup = blockIdx.z * tileQueries;
  const int heads = min(tileQueries, group - firstOfGroup);  // of each token, in this block
  const int queries = tile.tokens * heads;
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  const int y = threadIdx.x / 16, x = threadIdx.x % 16;

  // Query row q of the block is head q % heads of token q / heads.
  for (int place = threadIdx.x; place < tileQueries * maximumSize; place += blockThreads) {
    const int q = place / maximumSize, i = place % maximumSize;
    const int column = (head * group + firstOfGroup + q % heads) * h.size + i;
    scratch.queries[q][i] = q < queries && i < h.size ? qkv[(size_t)(tile.firstRow + q / heads) * widthOf(h) + column] : 0.0f;
  }
  float running[4][8] = {};
  const int chunks = (tile.firstPosition + tile.tokens - 1) / chunkLength + 1;
  for (int chunk = 0; chunk < chunks; chunk++) {
    __syncthreads();  // all are done with the keys and values before
    copyPart(scratch.keys, pagePart(pages, h, tile.slot, chunk, layer, false, head), h.padded);
    ptx::commitAsync();
    copyPart(scratch.values, pagePart(pages, h, tile.slot, chunk, layer, true, head), h.padded);
    ptx::commitAsync();
    ptx::waitAsync<1>();
    __syncthreads();

    // Scores: queries 4y … 4y + 3, keys x, x + 16, x + 32, x + 48. Lanes in the order 0, 2, 1, 3, in which they are combined.
    float score[4][4] = {};
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
      float both[4][4];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float sum[4][4] = {};
        for (int run = pair + 2 * half; 8 * run < h.padded; run += 4) {
          float key[4][8];
#pragma unroll
          for (int j = 0; j < 4; j++) {
            const uint4 k = *(const uint4 *)&scratch.keys[x + 16 * j][8 * run];
            key[j][0] = lowBFloat16(k.x), key[j][1] = highBFloat16(k.x), key[j][2] = lowBFloat16(k.y), key[j][3] = highBFloat16(k.y);
            key[j][4] = lowBFloat16(k.z), key[j][5] = highBFloat16(k.z), key[j][6] = lowBFloat16(k.w), key[j][7] = highBFloat16(k.w);
          }
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float4 low = *(const float4 *)&scratch.queries[4 * y + i][8 * run], high = *(const float4 *)&scratch.queries[4 * y + i][8 * run + 4];
            const float query[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int j = 0; j < 4; j++)
#pragma unroll
              for (int e = 0; e < 8; e++) sum[i][j] = __fmaf_rn(query[e], key[j][e], sum[i][j]);
          }
        }
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
          for (int j = 0; j < 4; j++) both[i][j] = half ? __fadd_rn(both[i][j], sum[i][j]) : sum[i][j];
      }
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) score[i][j] = pair ? __fadd_rn(score[i][j], both[i][j]) : both[i][j];
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) scratch.shares[4 * y + i][x + 16 * j] = __fmul_rn(score[i][j], h.scale);
    __syncthreads();

    // Softmax, a warp for each eighth of the queries; lane l has positions l and l + 32.
    for (int q = warp; q < queries; q += blockWarps) {
      const int position = tile.firstPosition + q / heads, count = min(chunkLength, position + 1 - chunk * chunkLength);
      if (count <= 0) {  // the chunk lies after this query
        scratch.shares[q][lane] = scratch.shares[q][lane + 32] = 0;
        if (lane == 0) scratch.before[q] = 1, scratch.now[q] = 0;
        continue;
      }
      const float none = -__int_as_float(0x7F800000);
      const float low = lane < count ? scratch.shares[q][lane] : none, high = lane + 32 < count ? scratch.shares[q][lane + 32] : none;
      const float first = __shfl_sync(0xFFFFFFFFu, low, 0);
      float most = larger(low, high);
#pragma unroll
      for (int half = 16; half > 0; half /= 2) most = larger(most, __shfl_xor_sync(0xFFFFFFFFu, most, half));
      if (!(most > first)) most = first;  // a NaN that comes first stays, as in the reference
      const float a0 = lane < count ? exponential(__fsub_rn(low, most)) : 0.0f;
      const float a1 = lane + 32 < count ? exponential(__fsub_rn(high, most)) : 0.0f;
      scratch.shares[q][lane] = a0;
      scratch.shares[q][lane + 32] = a1;
      const float total = fold32(__fadd_rn(a0, a1));
      if (lane == 0) {
        const float previous = chunk == 0 ? most : scratch.largest[q], next = most > previous ? most : previous;
        const float before = exponential(__fsub_rn(previous, next)), now = exponential(__fsub_rn(most, next));
        scratch.total[q] = chunk == 0 ? total : __fmaf_rn(total, now, __fmul_rn(scratch.total[q], before));
        scratch.largest[q] = next;
        scratch.before[q] = before;
        scratch.now[q] = now;
      }
    }
    ptx::waitAsync<0>();
    __syncthreads();

    // Values: queries 4y … 4y + 3, elements 8x … 8x + 7, positions in ascending order.
    if (8 * x < h.padded) {
      float sum[4][8] = {};
      int counts[4];
#pragma unroll
      for (int i = 0; i < 4; i++) counts[i] = tile.firstPosition + (4 * y + i) / heads + 1 - chunk * chunkLength;
      // All four queries see the positions before `shared`, and the last of them sees those before `last`.
      const int last = min(chunkLength, counts[3]), shared = max(0, min(chunkLength, counts[0]));
#pragma unroll 4
      for (int p = 0; p < shared; p++) {
        const ValueRun value(scratch, p, x);
#pragma unroll
        for (int i = 0; i < 4; i++) value.add(scratch.shares[4 * y + i][p], sum[i]);
      }
      // A weight of zero leaves a sum as it is, except for a value that is not finite, which a query must not see before its time.
#pragma unroll 1
      for (int p = shared; p < last; p++) {
        const ValueRun value(scratch, p, x);
#pragma unroll
        for (int i = 0; i < 4; i++)
          if (p < counts[i]) value.add(scratch.shares[4 * y + i][p], sum[i]);
      }
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if (4 * y + i >= queries || counts[i] <= 0) continue;
        const float before = scratch.before[4 * y + i], now = scratch.now[4 * y + i];
#pragma unroll
        for (int e = 0; e < 8; e++) running[i][e] = chunk == 0 ? sum[i][e] : __fmaf_rn(sum[i][e], now, __fmul_rn(running[i][e], before));
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int q = 4 * y + i;
    if (q >= queries) continue;
    const float reciprocal = __fdiv_rn(1.0f, scratch.total[q]);
    float *row = out + (size_t)(tile.firstRow + q / heads) * outStride + (head * group + firstOfGroup + q % heads) * h.size;
#pragma unroll
    for (int e = 0; e < 8; e++)
      if (8 * x + e < h.size) row[8 * x + e] = __fmul_rn(running[i][e], reciprocal);
  }
}
