// Attention of single tokens for heads of up to 128 elements: a chunk's keys and values go through shared memory.
//
// They can be loaded before the queries are computed: `ChunkLoads` holds them in registers meanwhile. Four query heads
// that share a key are computed together, and every array has 128 elements, zeros from the head's size on, so that all
// loops are unrolled.
#pragma once
#include "cache.cuh"

constexpr int shortHead = longestShortHead;  // elements
constexpr int shortPairs = shortHead / 2;
constexpr int shortGroup = 4;            // query heads of a pass
/// 64 bytes more than a key, so that the threads that load together use different banks.
constexpr int shortKeyStride = shortHead + 32;

struct alignas(16) ShortScratch {
  uint16_t keys[chunkLength][shortKeyStride];
  uint16_t values[chunkLength][shortHead];
  float queries[shortGroup][shortHead];
  float shares[shortGroup][chunkLength];
  float before[shortGroup][warpThreads];
  float now[shortGroup][warpThreads];
  float sums[shortGroup][warpThreads];
  float largest[shortGroup];
  float total[shortGroup];
  unsigned arrived;
};
static_assert(sizeof(ShortScratch) == shortScratchBytes);

/// One chunk of one key/value head of one token, with the addresses of its keys and values.
struct ChunkPart {
  int slot, head, chunk, position;
  uint16_t *keys, *values;

  __device__ __forceinline__ ChunkPart(const DecodeAttention &a, int layer, int slot, int head, int chunk, int position)
      : slot(slot), head(head), chunk(chunk), position(position) {
    keys = pagePart(a.pages, a.heads, slot, chunk, layer, false, head);
    values = keys + (size_t)a.heads.keyValueHeads * chunkLength * a.heads.padded;
  }

  __device__ __forceinline__ int chunks() const { return position / chunkLength + 1; }
  __device__ __forceinline__ bool isLast() const { return chunk == chunks() - 1; }
  /// Positions of the chunk, the token's own included.
  __device__ __forceinline__ int count() const { return isLast() ? position % chunkLength + 1 : chunkLength; }
};

/// The data that does not depend on this step's queries, keys and values: the chunk's earlier keys and values, and the
/// angles of the token's position.
template <int threads> struct ChunkLoads {
  static constexpr int pieces = shortHead / 8, count = chunkLength * pieces / threads;
  uint4 keys[count], values[count];
  float cosine, sine;

  __device__ __forceinline__ ChunkLoads(const DecodeAttention &a, const ChunkPart &part) {
    const Heads &h = a.heads;
    const int rows = part.count() - part.isLast();
#pragma unroll
    for (int k = 0; k < count; k++) {
      const int piece = k * threads + threadIdx.x, row = piece / pieces, column = piece % pieces * 8;
      keys[k] = values[k] = make_uint4(0, 0, 0, 0);
      if (row < rows && column < h.padded) {
        keys[k] = ptx::loadCoherent((const uint4 *)(part.keys + row * h.padded + column));
        values[k] = ptx::loadCoherent((const uint4 *)(part.values + row * h.padded + column));
      }
    }
    const int pairs = h.size / 2, pair = threadIdx.x % shortPairs;
    cosine = pair < pairs ? a.cosines[(size_t)part.position * pairs + pair] : 0.0f;
    sine = pair < pairs ? a.sines[(size_t)part.position * pairs + pair] : 0.0f;
  }

  /// Puts all but the token's own row where the chunk is worked on.
  __device__ __forceinline__ void store(const ChunkPart &part, ShortScratch &scratch) const {
    const int own = part.isLast() ? part.count() - 1 : chunkLength;
#pragma unroll
    for (int k = 0; k < count; k++) {
      const int piece = k * threads + threadIdx.x, row = piece / pieces, column = piece % pieces * 8;
      if (row == own) continue;
      *(uint4 *)&scratch.keys[row][column] = keys[k];
      *(uint4 *)&scratch.values[row][column] = values[k];
    }
  }
};

/// Two elements that turn together, dimensions i and i + size/2.
__device__ __forceinline__ void rotatePair(float &low, float &high, float cosine, float sine) {
  const float a = low, b = high;
  low = __fmaf_rn(a, cosine, -__fmul_rn(b, sine));
  high = __fmaf_rn(b, cosine, __fmul_rn(a, sine));
}

/// Rotates the queries of `heads` query heads from `firstHead` on into shared memory; the first time, and if the chunk
/// holds the token's own position, its key and value too, which also go to the cache. Ends with a barrier.
template <int threads>
__device__ __forceinline__ void loadQueries(const DecodeAttention &a, int row, int firstHead, int heads,
                                            const ChunkPart &part, bool appends, const ChunkLoads<threads> &loads,
                                            ShortScratch &scratch) {
  const Heads &h = a.heads;
  const int pairs = h.size / 2, pair = threadIdx.x % shortPairs, g = threadIdx.x / shortPairs;
  const float *qkv = a.qkv + (size_t)row * widthOf(h);
  const float *key = qkv + (h.queryHeads + part.head) * h.size, *value = key + h.keyValueHeads * h.size;
  // Threads from 256 on, if there are any, take the key and the value: all loads are under way together.
  const int appending = (int)threadIdx.x - (threads > 256 ? 256 : 0);
  const bool appendsPair = appends && appending >= 0 && appending < shortPairs;
  float low = 0, high = 0, keyLow = 0, keyHigh = 0, valueLow = 0, valueHigh = 0;
  const bool takesQuery = g < heads && pair < pairs;
  const bool takesPair = appendsPair && pair < pairs;
  if (takesQuery) {
    const float *query = qkv + (firstHead + g) * h.size + pair;
    low = ptx::loadCoherent(query);
    high = ptx::loadCoherent(query + pairs);
  }
  if (takesPair) {
    keyLow = ptx::loadCoherent(key + pair);
    keyHigh = ptx::loadCoherent(key + pairs + pair);
    valueLow = ptx::loadCoherent(value + pair);
    valueHigh = ptx::loadCoherent(value + pairs + pair);
  }
  if (g < shortGroup) {
    // The elements from the size on, and absent heads, are zeros.
    float *query = scratch.queries[g];
    if (takesQuery) {
      rotatePair(low, high, loads.cosine, loads.sine);
      query[pair] = low;
      query[pairs + pair] = high;
    } else if (g >= heads) {
      query[pair] = query[shortPairs + pair] = 0;
    }
    for (int i = h.size + pair; i < shortHead; i += shortPairs) query[i] = 0;
  }
  if (appendsPair) {
    const int own = part.position % chunkLength;
    uint16_t *ownKey = scratch.keys[own], *ownValue = scratch.values[own];
    if (takesPair) {
      rotatePair(keyLow, keyHigh, loads.cosine, loads.sine);
      uint16_t *cachedKey = part.keys + own * h.padded, *cachedValue = part.values + own * h.padded;
      cachedKey[pair] = ownKey[pair] = ptx::toBFloat16(keyLow);
      cachedKey[pairs + pair] = ownKey[pairs + pair] = ptx::toBFloat16(keyHigh);
      cachedValue[pair] = ownValue[pair] = ptx::toBFloat16(valueLow);
      cachedValue[pairs + pair] = ownValue[pairs + pair] = ptx::toBFloat16(valueHigh);
    }
    for (int i = h.size + pair; i < shortHead; i += shortPairs) ownKey[i] = ownValue[i] = 0;
  }
  __syncthreads();
}

/// Scores of the chunk's positions for the four heads. Four threads share a key: thread l takes the runs of 8 elements
/// l, l + 4, …: the four lanes of the sum. Ends with a barrier.
template <int threads> __device__ __forceinline__ void scoreChunk(const Heads &h, int count, ShortScratch &scratch) {
  constexpr int own = shortGroup * 256 / threads;  // heads of a thread
  const int position = threadIdx.x % 256 / 4, part = threadIdx.x % 4, firstHead = threadIdx.x / 256 * own;
  float sum[own] = {};
  if (position < count) {
    uint4 k[4];
#pragma unroll
    for (int j = 0; j < 4; j++) k[j] = *(const uint4 *)&scratch.keys[position][8 * (part + 4 * j)];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const float key[8] = {lowBFloat16(k[j].x), highBFloat16(k[j].x), lowBFloat16(k[j].y), highBFloat16(k[j].y),
                            lowBFloat16(k[j].z), highBFloat16(k[j].z), lowBFloat16(k[j].w), highBFloat16(k[j].w)};
#pragma unroll
      for (int g = 0; g < own; g++) {
        const float4 *query = (const float4 *)&scratch.queries[firstHead + g][8 * (part + 4 * j)];
        const float4 low = query[0], high = query[1];
        const float q[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
        for (int e = 0; e < 8; e++) sum[g] = __fmaf_rn(q[e], key[e], sum[g]);
      }
    }
  }
#pragma unroll
  for (int g = 0; g < own; g++) {
    float score = __fadd_rn(sum[g], __shfl_xor_sync(0xFFFFFFFFu, sum[g], 2));
    score = __fadd_rn(score, __shfl_xor_sync(0xFFFFFFFFu, score, 1));
    if (part == 0) scratch.shares[firstHead + g][position] = __fmul_rn(score, h.scale);
  }
  __syncthreads();
}

/// Turns a head's scores into weights, by one warp; returns their sum and, in `most`, the largest score.
__device__ __forceinline__ float weigh(float *shares, int count, float &most) {
  // Lane l has positions l and l + 32: the 32 lanes of the sum of weights.
  const int lane = threadIdx.x % warpThreads;
  const float none = -__int_as_float(0x7F800000);
  const float low = lane < count ? shares[lane] : none, high = lane + 32 < count ? shares[lane + 32] : none;
  // The first score, replaced by larger ones: so a NaN behaves as in the reference, which starts from it and keeps it.
  const float first = shares[0];
  most = larger(low, high);
#pragma unroll
  for (int half = 16; half > 0; half /= 2) most = larger(most, __shfl_xor_sync(0xFFFFFFFFu, most, half));
  if (!(most > first)) most = first;
  __syncwarp();
  const float a0 = lane < count ? exponential(__fsub_rn(low, most)) : 0.0f;
  const float a1 = lane + 32 < count ? exponential(__fsub_rn(high, most)) : 0.0f;
  shares[lane] = a0;
  shares[lane + 32] = a1;
  return fold32(__fadd_rn(a0, a1));
}

/// Two neighbouring elements of the weighted values of a head: a single ascending chain each.
__device__ __forceinline__ float2 weightedValues(const float *shares, const uint16_t *values, int pair, int count) {
  const unsigned *value = (const unsigned *)values + pair;
  float low = 0, high = 0;
  int p = 0;
  for (; p + 8 <= count; p += 8) {
    unsigned v[8];
#pragma unroll
    for (int j = 0; j < 8; j++) v[j] = value[(p + j) * shortPairs];
    const float4 first = *(const float4 *)(shares + p), second = *(const float4 *)(shares + p + 4);
    const float share[8] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
#pragma unroll
    for (int j = 0; j < 8; j++) {
      low = __fmaf_rn(share[j], lowBFloat16(v[j]), low);
      high = __fmaf_rn(share[j], highBFloat16(v[j]), high);
    }
  }
  for (; p < count; p++) {
    const unsigned v = value[p * shortPairs];
    low = __fmaf_rn(shares[p], lowBFloat16(v), low);
    high = __fmaf_rn(shares[p], highBFloat16(v), high);
  }
  return make_float2(low, high);
}

/// Combines the chunks of `heads` (1 to 4) query heads in ascending order and writes their output to `row`.
__device__ __forceinline__ void combineShort(const DecodeAttention &a, int row, int place, int firstHead, int heads,
                                             int chunks, ShortScratch &scratch) {
  const Heads &h = a.heads;
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  const int g = threadIdx.x / shortPairs, pair = threadIdx.x % shortPairs;
  const size_t base = ((size_t)place * h.queryHeads + firstHead) * a.partials.capacity;
  const bool carries = g < heads && 2 * pair < h.size;
  float2 value = make_float2(0, 0);
  float total = 0;
  for (int first = 0; first < chunks; first += warpThreads) {
    const int here = min(warpThreads, chunks - first);
    constexpr int ahead = 8;
    const float *weighted =
        a.partials.weighted + (base + (size_t)g * a.partials.capacity + first) * h.padded + 2 * pair;
    float2 w[ahead];
    // On their way while the factors are worked out.
#pragma unroll
    for (int c = 0; c < ahead; c++)
      w[c] = carries && c < here ? ptx::loadCoherent((const float2 *)(weighted + c * h.padded)) : make_float2(0, 0);
    if (warp < heads) {
      // Each lane has a chunk; its maximum so far is that of the lanes up to it.
      const size_t chunk = base + (size_t)warp * a.partials.capacity + first + lane;
      const float own = lane < here ? ptx::loadCoherent(a.partials.largest + chunk) : -__int_as_float(0x7F800000);
      const float sum = lane < here ? ptx::loadCoherent(a.partials.total + chunk) : 0.0f;
      const float start = first == 0 ? __shfl_sync(0xFFFFFFFFu, own, 0) : scratch.largest[warp];
      float most = larger(start, own);
#pragma unroll
      for (int step = 1; step < warpThreads; step *= 2) {
        const float other = __shfl_up_sync(0xFFFFFFFFu, most, step);
        if (lane >= step) most = larger(most, other);
      }
      const float previous = __shfl_up_sync(0xFFFFFFFFu, most, 1);
      scratch.before[warp][lane] = exponential(__fsub_rn(lane == 0 ? start : previous, most));
      scratch.now[warp][lane] = exponential(__fsub_rn(own, most));
      scratch.sums[warp][lane] = sum;
      const float last = __shfl_sync(0xFFFFFFFFu, most, here - 1);
      __syncwarp();
      if (lane == 0) scratch.largest[warp] = last;
    }
    __syncthreads();
    if (carries) {
      for (int batch = 0; batch < here; batch += ahead) {
        if (batch > 0)
#pragma unroll
          for (int c = 0; c < ahead; c++)
            w[c] = batch + c < here ? ptx::loadCoherent((const float2 *)(weighted + (batch + c) * h.padded))
                                    : make_float2(0, 0);
#pragma unroll
        for (int c = 0; c < ahead; c++) {
          if (batch + c >= here) break;
          const float before = scratch.before[g][batch + c], now = scratch.now[g][batch + c],
                      sum = scratch.sums[g][batch + c];
          const bool isFirst = first + batch + c == 0;
          value.x = isFirst ? w[c].x : __fmaf_rn(w[c].x, now, __fmul_rn(value.x, before));
          value.y = isFirst ? w[c].y : __fmaf_rn(w[c].y, now, __fmul_rn(value.y, before));
          total = isFirst ? sum : __fmaf_rn(sum, now, __fmul_rn(total, before));
        }
      }
    }
    __syncthreads();
  }
  if (carries) {
    const float reciprocal = __fdiv_rn(1.0f, total);
    float *out = a.out + (size_t)row * a.outStride + (firstHead + g) * h.size + 2 * pair;
    ptx::storeRelaxed(out, __fmul_rn(value.x, reciprocal));
    ptx::storeRelaxed(out + 1, __fmul_rn(value.y, reciprocal));
  }
}

/// One chunk of one key/value head of one token, by a block of 256 or 512 threads; the block that completes the head
/// combines it.
///
/// The block whose chunk holds the token's own position rotates and stores its key and value first. row: the token's in
/// the batch; place: its place among those of the launch, which partials are indexed by.
template <int threads>
__device__ __forceinline__ void attendShort(const DecodeAttention &a, int row, int place, const ChunkPart &part,
                                            const ChunkLoads<threads> &loads, ShortScratch &scratch) {
  const Heads &h = a.heads;
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  const int g = threadIdx.x / shortPairs, pair = threadIdx.x % shortPairs, count = part.count();
  const bool isOnly = part.chunks() == 1;
  loads.store(part, scratch);
#pragma unroll 1
  for (int first = 0; first < groupOf(h); first += shortGroup) {
    const int heads = min(shortGroup, groupOf(h) - first), firstHead = part.head * groupOf(h) + first;
    loadQueries<threads>(a, row, firstHead, heads, part, part.isLast() && first == 0, loads, scratch);
    scoreChunk<threads>(h, count, scratch);
    const size_t own = ((size_t)place * h.queryHeads + firstHead) * a.partials.capacity + part.chunk;
    if (warp < heads) {
      float most;
      const float total = weigh(scratch.shares[warp], count, most);
      if (lane == 0) {
        scratch.total[warp] = total;
        if (!isOnly) {
          a.partials.largest[own + (size_t)warp * a.partials.capacity] = most;
          a.partials.total[own + (size_t)warp * a.partials.capacity] = total;
        }
      }
    }
    __syncthreads();
    if (g < heads && 2 * pair < h.padded) {
      const float2 value = weightedValues(scratch.shares[g], &scratch.values[0][0], pair, count);
      if (!isOnly) {
        *(float2 *)(a.partials.weighted + (own + (size_t)g * a.partials.capacity) * h.padded + 2 * pair) = value;
      } else if (2 * pair < h.size) {
        const float reciprocal = __fdiv_rn(1.0f, scratch.total[g]);
        float *out = a.out + (size_t)row * a.outStride + (firstHead + g) * h.size + 2 * pair;
        ptx::storeRelaxed(out, __fmul_rn(value.x, reciprocal));
        ptx::storeRelaxed(out + 1, __fmul_rn(value.y, reciprocal));
      }
    }
    __syncthreads();
  }
  if (isOnly) return;
  // The barrier before orders the block's writes before this thread's release.
  const size_t counter = (size_t)place * h.keyValueHeads + part.head;
  if (threadIdx.x == 0) scratch.arrived = ptx::addRelease(a.partials.arrivals + counter, 1);
  __syncthreads();
  if (scratch.arrived == (unsigned)part.chunks() - 1) {
#pragma unroll 1
    for (int first = 0; first < groupOf(h); first += shortGroup)
      combineShort(a, row, place, part.head * groupOf(h) + first, min(shortGroup, groupOf(h) - first), part.chunks(),
                   scratch);
    if (threadIdx.x == 0) a.partials.arrivals[counter] = 0;
  }
  __syncthreads();
}
