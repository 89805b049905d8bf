// Attention of single tokens over the cache, split by chunks of 64 positions.
#pragma once
#include "cache.cuh"

constexpr int groupPass = 8;        // query heads that are worked on together, one warp's softmax each
constexpr int carriedElements = 4;  // of the output, by each thread: enough for eight heads of 128, and for one of 1024

/// Shared memory of a block: this, then [groupPass][padded] floats of rotated queries.
struct alignas(16) ChunkScratch {
  float shares[groupPass][chunkLength];
  float before[groupPass][warpThreads];
  float now[groupPass][warpThreads];
  float largest[groupPass];
  float total[groupPass];
  unsigned arrived;
};
static_assert(sizeof(ChunkScratch) == chunkScratchBytes);

/// Scores, softmax and weighted values of `heads` (1 to 8) query heads over one chunk, left in partials at `place`, one of the launch's.
__device__ __forceinline__ void attendChunk(const DecodeAttention &a, int place, int firstHead, int heads, int chunk, int count,
                                            const uint16_t *keys, const uint16_t *values, const float *queries, ChunkScratch &scratch) {
  const Heads &h = a.heads;
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  // Four threads share a key: thread l takes the runs of 8 elements l, l + 4, …: the four lanes of the sum.
  const int position = threadIdx.x / 4, part = threadIdx.x % 4;
  float sum[groupPass] = {};
  if (position < count) {
    for (int run = part; 8 * run < h.padded; run += 4) {
      const uint4 k = ptx::loadCoherent((const uint4 *)(keys + position * h.padded + 8 * run));
      const float key[8] = {lowBFloat16(k.x), highBFloat16(k.x), lowBFloat16(k.y), highBFloat16(k.y),
                            lowBFloat16(k.z), highBFloat16(k.z), lowBFloat16(k.w), highBFloat16(k.w)};
#pragma unroll
      for (int g = 0; g < groupPass; g++) {
        if (g >= heads) break;
        const float4 *query = (const float4 *)(queries + g * h.padded + 8 * run);
        const float4 low = query[0], high = query[1];
        sum[g] = __fmaf_rn(low.x, key[0], sum[g]);
        sum[g] = __fmaf_rn(low.y, key[1], sum[g]);
        sum[g] = __fmaf_rn(low.z, key[2], sum[g]);
        sum[g] = __fmaf_rn(low.w, key[3], sum[g]);
        sum[g] = __fmaf_rn(high.x, key[4], sum[g]);
        sum[g] = __fmaf_rn(high.y, key[5], sum[g]);
        sum[g] = __fmaf_rn(high.z, key[6], sum[g]);
        sum[g] = __fmaf_rn(high.w, key[7], sum[g]);
      }
    }
  }
#pragma unroll
  for (int g = 0; g < groupPass; g++) {
    if (g >= heads) break;
    float score = __fadd_rn(sum[g], __shfl_xor_sync(0xFFFFFFFFu, sum[g], 2));
    score = __fadd_rn(score, __shfl_xor_sync(0xFFFFFFFFu, score, 1));
    if (part == 0) scratch.shares[g][position] = __fmul_rn(score, h.scale);
  }
  __syncthreads();
  if (warp < heads) {
    // Lane l has positions l and l + 32: the 32 lanes of the sum of weights.
    const float none = -__int_as_float(0x7F800000);
    const float low = lane < count ? scratch.shares[warp][lane] : none;
    const float high = lane + 32 < count ? scratch.shares[warp][lane + 32] : none;
    // The first score, replaced by larger ones: so a NaN behaves as in the reference, which starts from it and keeps it.
    const float first = scratch.shares[warp][0];
    float most = larger(low, high);
#pragma unroll
    for (int half = 16; half > 0; half /= 2) most = larger(most, __shfl_xor_sync(0xFFFFFFFFu, most, half));
    if (!(most > first)) most = first;
    __syncwarp();
    const float a0 = lane < count ? exponential(__fsub_rn(low, most)) : 0.0f;
    const float a1 = lane + 32 < count ? exponential(__fsub_rn(high, most)) : 0.0f;
    scratch.shares[warp][lane] = a0;
    scratch.shares[warp][lane + 32] = a1;
    const float total = fold32(__fadd_rn(a0, a1));
    if (lane == 0) {
      const size_t own = ((size_t)place * h.queryHeads + firstHead + warp) * a.partials.capacity + chunk;
      a.partials.largest[own] = most;
      a.partials.total[own] = total;
    }
  }
  __syncthreads();
  // A thread takes two neighbouring elements of one head: a single ascending chain each.
  for (int pair = threadIdx.x; pair < heads * h.padded / 2; pair += blockThreads) {
    const int g = pair / (h.padded / 2), i = pair % (h.padded / 2);
    const unsigned *value = (const unsigned *)values + i;
    float low = 0, high = 0;
#pragma unroll 8
    for (int p = 0; p < count; p++) {
      const unsigned v = ptx::loadCoherent(value + p * h.padded / 2);
      const float share = scratch.shares[g][p];
      low = __fmaf_rn(share, lowBFloat16(v), low);
      high = __fmaf_rn(share, highBFloat16(v), high);
    }
    float *weighted = a.partials.weighted + (((size_t)place * h.queryHeads + firstHead + g) * a.partials.capacity + chunk) * h.padded + 2 * i;
    weighted[0] = low;
    weighted[1] = high;
  }
  __syncthreads();
}

/// Combines the chunks of `heads` (1 to 8) query heads in ascending order and writes their output to `row`.
__device__ __forceinline__ void combineChunks(const DecodeAttention &a, int row, int place, int firstHead, int heads, int chunks, ChunkScratch &scratch) {
  const Heads &h = a.heads;
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  const size_t base = ((size_t)place * h.queryHeads + firstHead) * a.partials.capacity;
  float running[carriedElements];
  for (int first = 0; first < chunks; first += warpThreads) {
    const int here = min(warpThreads, chunks - first);
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
      const float factorBefore = exponential(__fsub_rn(lane == 0 ? start : previous, most));
      const float factorNow = exponential(__fsub_rn(own, most));
      float total = first == 0 ? __shfl_sync(0xFFFFFFFFu, sum, 0) : scratch.total[warp];
      for (int c = first == 0 ? 1 : 0; c < here; c++)
        total = __fmaf_rn(__shfl_sync(0xFFFFFFFFu, sum, c), __shfl_sync(0xFFFFFFFFu, factorNow, c),
                          __fmul_rn(total, __shfl_sync(0xFFFFFFFFu, factorBefore, c)));
      scratch.before[warp][lane] = factorBefore;
      scratch.now[warp][lane] = factorNow;
      __syncwarp();
      const float last = __shfl_sync(0xFFFFFFFFu, most, here - 1);
      if (lane == 0) {
        scratch.largest[warp] = last;
        scratch.total[warp] = total;
      }
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < carriedElements; k++) {
      const int element = k * blockThreads + threadIdx.x, g = element / h.padded, i = element % h.padded;
      if (g >= heads) break;
      const float *weighted = a.partials.weighted + (base + (size_t)g * a.partials.capacity + first) * h.padded + i;
      float value = first == 0 ? ptx::loadCoherent(weighted) : running[k];
#pragma unroll 2
      for (int c = first == 0 ? 1 : 0; c < here; c++)
        value = __fmaf_rn(ptx::loadCoherent(weighted + c * h.padded), scratch.now[g][c], __fmul_rn(value, scratch.before[g][c]));
      running[k] = value;
    }
    __syncthreads();
  }
#pragma unroll
  for (int k = 0; k < carriedElements; k++) {
    const int element = k * blockThreads + threadIdx.x, g = element / h.padded, i = element % h.padded;
    if (g >= heads) break;
    if (i < h.size)
      a.out[(size_t)row * a.outStride + (firstHead + g) * h.size + i] = __fmul_rn(running[k], __fdiv_rn(1.0f, scratch.total[g]));
  }
  __syncthreads();
}

/// Query heads that one pass takes: as many as combineChunks can carry.
__device__ __forceinline__ int headsOfPass(const Heads &h) { return max(1, min(groupPass, carriedElements * blockThreads / h.padded)); }

/// One chunk of one key/value head of one token; the block that completes the head combines it.
///
/// The block whose chunk holds the token's own position rotates and stores its key and value first. row: the token's in the batch; place:
/// its place among those of the launch, which partials are indexed by; position: the token's.
__device__ __forceinline__ void attendPart(const DecodeAttention &a, int layer, int row, int place, int slot, int head, int chunk, int position,
                                           unsigned char *shared) {
  const Heads &h = a.heads;
  ChunkScratch &scratch = *(ChunkScratch *)shared;
  float *queries = (float *)(shared + sizeof(ChunkScratch));
  const int chunks = position / chunkLength + 1, pairs = h.size / 2, pass = headsOfPass(h);
  const float *qkv = a.qkv + (size_t)row * widthOf(h);
  uint16_t *keys = pagePart(a.pages, h, slot, chunk, layer, false, head), *values = pagePart(a.pages, h, slot, chunk, layer, true, head);
  if (chunk == chunks - 1) append(qkv, h, head, keys, values, position, a.cosines, a.sines, threadIdx.x, blockThreads);
  const int count = chunk == chunks - 1 ? position % chunkLength + 1 : chunkLength;
  for (int first = 0; first < groupOf(h); first += pass) {
    const int heads = min(pass, groupOf(h) - first), firstHead = head * groupOf(h) + first;
    for (int element = threadIdx.x; element < heads * h.padded; element += blockThreads) {
      const int g = element / h.padded, i = element % h.padded;
      queries[element] = i < h.size ? rotated(qkv + (firstHead + g) * h.size, i, pairs, a.cosines + (size_t)position * pairs,
                                            a.sines + (size_t)position * pairs)
                                  : 0.0f;
    }
    __syncthreads();
    attendChunk(a, place, firstHead, heads, chunk, count, keys, values, queries, scratch);
  }
  // The barrier at the end of attendChunk orders the block's writes before this thread's release.
  if (threadIdx.x == 0) scratch.arrived = ptx::addRelease(a.partials.arrivals + (size_t)place * h.keyValueHeads + head, 1);
  __syncthreads();
  if (scratch.arrived == (unsigned)chunks - 1) {
    for (int first = 0; first < groupOf(h); first += pass)
      combineChunks(a, row, place, head * groupOf(h) + first, min(pass, groupOf(h) - first), chunks, scratch);
    if (threadIdx.x == 0) a.partials.arrivals[(size_t)place * h.keyValueHeads + head] = 0;
  }
  __syncthreads();
}

/// Asks for a chunk's keys and values to come to the second-level cache.
__device__ __forceinline__ void prefetchPart(const DecodeAttention &a, int layer, int slot, int head, int chunk) {
  const Heads &h = a.heads;
  for (int kind = 0; kind < 2; kind++) {
    const uint16_t *part = pagePart(a.pages, h, slot, chunk, layer, kind == 1, head);
    for (int i = 64 * threadIdx.x; i < chunkLength * h.padded; i += 64 * blockThreads) ptx::prefetchL2(part + i);
  }
}
