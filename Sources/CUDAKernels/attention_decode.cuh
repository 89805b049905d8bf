// Attention of single tokens over the cache, split by chunks of 64 positions. Heads of up to 128 elements go through
// attention_short.cuh; the code here takes heads of any size.
#pragma once
#include "attention_short.cuh"

constexpr int groupPass = 8;        // query heads that are computed together, one warp's softmax each
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

/// Query heads of one pass: as many as combineChunks has registers for.
__device__ __forceinline__ int headsOfPass(const Heads &h) {
  return max(1, min(groupPass, carriedElements * blockThreads / h.padded));
}

/// Scores, softmax and weighted values of `heads` (1 to 8) query heads over one chunk. They go to partials at `place`,
/// one of the launch's, or, where there is no other chunk, become the output at once.
__device__ __forceinline__ void attendChunk(const DecodeAttention &a, int row, int place, int firstHead, int heads,
                                            const ChunkPart &chunk, const float *queries, ChunkScratch &scratch) {
  const Heads &h = a.heads;
  const int count = chunk.count();
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  // Four threads share a key: thread l takes the runs of 8 elements l, l + 4, …: the four lanes of the sum.
  const int position = threadIdx.x / 4, part = threadIdx.x % 4;
  float sum[groupPass] = {};
  if (position < count) {
    constexpr int ahead = 4;  // loads under way together: all of a key of 128
    for (int first = part; 8 * first < h.padded; first += 4 * ahead) {
      uint4 k[ahead];
#pragma unroll
      for (int a = 0; a < ahead; a++) {
        k[a] = make_uint4(0, 0, 0, 0);
        if (8 * (first + 4 * a) < h.padded)
          k[a] = ptx::loadCoherent((const uint4 *)(chunk.keys + position * h.padded + 8 * (first + 4 * a)));
      }
#pragma unroll
      for (int a = 0; a < ahead; a++) {
        if (8 * (first + 4 * a) >= h.padded) break;
        const float key[8] = {lowBFloat16(k[a].x), highBFloat16(k[a].x), lowBFloat16(k[a].y), highBFloat16(k[a].y),
                              lowBFloat16(k[a].z), highBFloat16(k[a].z), lowBFloat16(k[a].w), highBFloat16(k[a].w)};
#pragma unroll
        for (int g = 0; g < groupPass; g++) {
          if (g >= heads) break;
          const float4 *query = (const float4 *)(queries + g * h.padded + 8 * (first + 4 * a));
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
  }
#pragma unroll
  for (int g = 0; g < groupPass; g++) {
    if (g >= heads) break;
    float score = __fadd_rn(sum[g], __shfl_xor_sync(0xFFFFFFFFu, sum[g], 2));
    score = __fadd_rn(score, __shfl_xor_sync(0xFFFFFFFFu, score, 1));
    if (part == 0) scratch.shares[g][position] = __fmul_rn(score, h.scale);
  }
  __syncthreads();
  const bool isOnly = chunk.chunks() == 1;
  if (warp < heads) {
    // Lane l has positions l and l + 32: the 32 lanes of the sum of weights.
    const float none = -__int_as_float(0x7F800000);
    const float low = lane < count ? scratch.shares[warp][lane] : none;
    const float high = lane + 32 < count ? scratch.shares[warp][lane + 32] : none;
    // The first score, replaced by larger ones, so that a NaN behaves as in the reference, which starts from it and
    // keeps it.
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
      const size_t own = ((size_t)place * h.queryHeads + firstHead + warp) * a.partials.capacity + chunk.chunk;
      if (isOnly) {
        scratch.total[warp] = total;
      } else {
        a.partials.largest[own] = most;
        a.partials.total[own] = total;
      }
    }
  }
  __syncthreads();
  // A thread takes two neighbouring elements of one head: a single ascending chain each.
  for (int pair = threadIdx.x; pair < heads * h.padded / 2; pair += blockThreads) {
    const int g = pair / (h.padded / 2), i = pair % (h.padded / 2);
    const unsigned *value = (const unsigned *)chunk.values + i;
    float low = 0, high = 0;
    constexpr int ahead = 8;
    for (int first = 0; first < count; first += ahead) {
      unsigned v[ahead];
#pragma unroll
      for (int a = 0; a < ahead; a++) {
        v[a] = 0;
        if (first + a < count) v[a] = ptx::loadCoherent(value + (first + a) * h.padded / 2);
      }
#pragma unroll
      for (int a = 0; a < ahead; a++) {
        if (first + a >= count) break;
        const float share = scratch.shares[g][first + a];
        low = __fmaf_rn(share, lowBFloat16(v[a]), low);
        high = __fmaf_rn(share, highBFloat16(v[a]), high);
      }
    }
    if (isOnly) {
      const float reciprocal = __fdiv_rn(1.0f, scratch.total[g]);
      float *out = a.out + (size_t)row * a.outStride + (firstHead + g) * h.size + 2 * i;
      if (2 * i < h.size) out[0] = __fmul_rn(low, reciprocal);
      if (2 * i + 1 < h.size) out[1] = __fmul_rn(high, reciprocal);
    } else {
      float *weighted =
          a.partials.weighted +
          (((size_t)place * h.queryHeads + firstHead + g) * a.partials.capacity + chunk.chunk) * h.padded + 2 * i;
      weighted[0] = low;
      weighted[1] = high;
    }
  }
  __syncthreads();
}

/// Combines the chunks of `heads` (1 to 8) query heads in ascending order and writes their output to `row`.
__device__ __forceinline__ void combineChunks(const DecodeAttention &a, int row, int place, int firstHead, int heads,
                                              int chunks, ChunkScratch &scratch) {
  const Heads &h = a.heads;
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  const size_t base = ((size_t)place * h.queryHeads + firstHead) * a.partials.capacity;
  float running[carriedElements] = {};
  for (int first = 0; first < chunks; first += warpThreads) {
    const int here = min(warpThreads, chunks - first);
    if (warp < heads) {
      // Each lane has a chunk; its maximum so far is the maximum of the lanes up to it.
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
      scratch.shares[warp][lane] = sum;
      const float last = __shfl_sync(0xFFFFFFFFu, most, here - 1);
      __syncwarp();
      if (lane == 0) {
        // One chain, for which only the last barrier waits.
        float total = first == 0 ? scratch.shares[warp][0] : scratch.total[warp];
#pragma unroll 4
        for (int c = first == 0 ? 1 : 0; c < here; c++)
          total = __fmaf_rn(scratch.shares[warp][c], scratch.now[warp][c], __fmul_rn(total, scratch.before[warp][c]));
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
      float value = running[k];
      constexpr int ahead = 8;
      for (int batch = 0; batch < here; batch += ahead) {
        float w[ahead];
#pragma unroll
        for (int c = 0; c < ahead; c++)
          w[c] = batch + c < here ? ptx::loadCoherent(weighted + (batch + c) * h.padded) : 0.0f;
#pragma unroll
        for (int c = 0; c < ahead; c++) {
          if (batch + c >= here) break;
          const bool isFirst = first + batch + c == 0;
          value = isFirst ? w[c]
                          : __fmaf_rn(w[c], scratch.now[g][batch + c], __fmul_rn(value, scratch.before[g][batch + c]));
        }
      }
      running[k] = value;
    }
    __syncthreads();
  }
#pragma unroll
  for (int k = 0; k < carriedElements; k++) {
    const int element = k * blockThreads + threadIdx.x, g = element / h.padded, i = element % h.padded;
    if (g >= heads) break;
    if (i < h.size)
      a.out[(size_t)row * a.outStride + (firstHead + g) * h.size + i] =
          __fmul_rn(running[k], __fdiv_rn(1.0f, scratch.total[g]));
  }
  __syncthreads();
}

/// attendShort for heads of any size, by a block of 256 threads.
__device__ __forceinline__ void attendLong(const DecodeAttention &a, int row, int place, const ChunkPart &part,
                                           unsigned char *shared) {
  const Heads &h = a.heads;
  ChunkScratch &scratch = *(ChunkScratch *)shared;
  float *queries = (float *)(shared + sizeof(ChunkScratch));
  const int pairs = h.size / 2, pass = headsOfPass(h), position = part.position;
  const float *qkv = a.qkv + (size_t)row * widthOf(h);
  if (part.isLast())
    append(qkv, h, part.head, part.keys, part.values, position, a.cosines, a.sines, threadIdx.x, blockThreads);
  for (int first = 0; first < groupOf(h); first += pass) {
    const int heads = min(pass, groupOf(h) - first), firstHead = part.head * groupOf(h) + first;
    for (int element = threadIdx.x; element < heads * h.padded; element += blockThreads) {
      const int g = element / h.padded, i = element % h.padded;
      queries[element] = i < h.size ? rotated(qkv + (firstHead + g) * h.size, i, pairs,
                                              a.cosines + (size_t)position * pairs, a.sines + (size_t)position * pairs)
                                    : 0.0f;
    }
    __syncthreads();
    attendChunk(a, row, place, firstHead, heads, part, queries, scratch);
  }
  if (part.chunks() == 1) return;
  // The barrier at the end of attendChunk orders the block's writes before this thread's release.
  const size_t counter = (size_t)place * h.keyValueHeads + part.head;
  if (threadIdx.x == 0) scratch.arrived = ptx::addRelease(a.partials.arrivals + counter, 1);
  __syncthreads();
  if (scratch.arrived == (unsigned)part.chunks() - 1) {
    for (int first = 0; first < groupOf(h); first += pass)
      combineChunks(a, row, place, part.head * groupOf(h) + first, min(pass, groupOf(h) - first), part.chunks(),
                    scratch);
    if (threadIdx.x == 0) a.partials.arrivals[counter] = 0;
  }
  __syncthreads();
}

/// Attends to a chunk whose keys and values have not been loaded before.
__device__ __forceinline__ void attendPart(const DecodeAttention &a, int row, int place, const ChunkPart &part,
                                           unsigned char *shared) {
  if (a.heads.padded <= shortHead)
    attendShort<blockThreads>(a, row, place, part, ChunkLoads<blockThreads>(a, part), *(ShortScratch *)shared);
  else
    attendLong(a, row, place, part, shared);
}

/// Prefetches a chunk's keys and values into the second-level cache.
__device__ __forceinline__ void prefetchChunk(const Heads &h, const ChunkPart &part) {
  for (int i = 64 * threadIdx.x; i < chunkLength * h.padded; i += 64 * blockThreads) {
    ptx::prefetchL2(part.keys + i);
    ptx::prefetchL2(part.values + i);
  }
}
