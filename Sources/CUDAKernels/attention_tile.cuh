// What attend_prompt and attend_window have in common: a tile of queries for 128 threads, of which sixteen, half of a
// warp, share some queries. A thread has `Own` queries and four keys of a chunk, then the same queries and eight
// elements of the values.
#pragma once
#include "cache.cuh"

constexpr int tileThreads = 128, tileElements = 128;  // elements of a head, or of a slice of one
constexpr int ownKeys = 4, sharers = 16;              // keys of a thread; threads that share queries
constexpr int headLanes = 4;                          // of the canonical sum over a head, in runs of 8 elements
constexpr int keyStride = tileElements + 8;
static_assert(chunkLength == ownKeys * sharers);

/// Eight bfloat16 values as floats.
struct Run {
  float element[8];

  __device__ __forceinline__ explicit Run(const uint16_t *from) {
    const uint4 v = *(const uint4 *)from;
    element[0] = lowBFloat16(v.x), element[1] = highBFloat16(v.x), element[2] = lowBFloat16(v.y),
    element[3] = highBFloat16(v.y);
    element[4] = lowBFloat16(v.z), element[5] = highBFloat16(v.z), element[6] = lowBFloat16(v.w),
    element[7] = highBFloat16(v.w);
  }
  __device__ __forceinline__ void add(float weight, float (&sum)[8]) const {
#pragma unroll
    for (int e = 0; e < 8; e++) sum[e] = __fmaf_rn(weight, element[e], sum[e]);
  }
};

/// Adds the runs of one lane of the canonical order, of the first `width` elements of queries (rows of tileElements),
/// to a thread's part of the scores of a chunk, with keys x, x + 16, x + 32, x + 48.
template <int Own>
__device__ __forceinline__ void addLane(float (&sum)[Own][ownKeys], const float *queries, const uint16_t *keys,
                                        int lane, int width) {
#pragma unroll 1
  for (int run = lane; 8 * run < width; run += headLanes) {
    uint4 packed[ownKeys];
#pragma unroll
    for (int j = 0; j < ownKeys; j++) packed[j] = *(const uint4 *)(keys + sharers * j * keyStride + 8 * run);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float key[ownKeys][4];
#pragma unroll
      for (int j = 0; j < ownKeys; j++) {
        const unsigned first = half ? packed[j].z : packed[j].x, second = half ? packed[j].w : packed[j].y;
        key[j][0] = lowBFloat16(first), key[j][1] = highBFloat16(first), key[j][2] = lowBFloat16(second),
        key[j][3] = highBFloat16(second);
      }
#pragma unroll
      for (int i = 0; i < Own; i++) {
        const float4 query = *(const float4 *)(queries + i * tileElements + 8 * run + 4 * half);
#pragma unroll
        for (int j = 0; j < ownKeys; j++) {
          sum[i][j] = __fmaf_rn(query.x, key[j][0], sum[i][j]);
          sum[i][j] = __fmaf_rn(query.y, key[j][1], sum[i][j]);
          sum[i][j] = __fmaf_rn(query.z, key[j][2], sum[i][j]);
          sum[i][j] = __fmaf_rn(query.w, key[j][3], sum[i][j]);
        }
      }
    }
  }
}

/// The value of each thread combined with those of the other fifteen that share its queries.
template <class Combine> __device__ __forceinline__ float amongSharers(float x, Combine combine) {
#pragma unroll
  for (int half = sharers / 2; half > 0; half /= 2) x = combine(x, __shfl_xor_sync(0xFFFFFFFFu, x, half));
  return x;
}

/// Copies elements `first` to first + 127 of the tile's queries: row q is head firstHead + q % heads of token
/// q / heads, and goes to row q % Own of group q / Own, whose rows are followed by four unused elements. Rows beyond the
/// queries and elements beyond the head become zero.
template <int Own, int Groups>
__device__ __forceinline__ void copyQueries(float (&queries)[Groups][Own * tileElements + 4], const Heads &h,
                                            const QueryTile &tile, int firstHead, int heads, const float *qkv,
                                            int first) {
  constexpr int quads = tileElements / 4;
#pragma unroll 1
  for (int place = threadIdx.x; place < Groups * Own * quads; place += tileThreads) {
    const int q = place / quads, inTile = place % quads * 4, i = first + inTile, token = q / heads;
    float *to = &queries[q / Own][q % Own * tileElements + inTile];
    const bool isQuery = token < tile.tokens;
    const float *from =
        qkv + (isQuery ? (size_t)(tile.firstRow + token) * widthOf(h) + (firstHead + q % heads) * h.size : 0);
    if (h.size % 4 == 0) {
      const bool valid = isQuery && i < h.size;
      ptx::copyAsync16Zero(to, from + (valid ? i : 0), valid);
    } else {
      for (int e = 0; e < 4; e++) to[e] = isQuery && i + e < h.size ? from[i + e] : 0.0f;
    }
  }
}
