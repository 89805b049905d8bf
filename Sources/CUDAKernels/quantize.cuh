// RMSNorm and the absmax quantiser, for a block and for a warp.
//
// A row is read three times, with plain loads: the second and third time from the first-level cache. In the cooperative step other blocks
// have written it; the barrier before makes that safe (ptx::gridArrive).
#pragma once
#include "canonical.cuh"

/// Shared memory that a block's row functions need.
struct alignas(16) RowScratch {
  float lanes[blockThreads];
  unsigned absmax[blockWarps];
  int sums[blockWarps];
};
static_assert(sizeof(RowScratch) == rowScratchBytes);

/// 1 / sqrt(Σx²/n + ε) of a row, by a block of 256 threads: thread t is lane t of the sum. The same in every thread.
__device__ __forceinline__ float blockNormalizer(const float *x, float epsilon, int n, RowScratch &scratch) {
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += blockThreads) {
    sum = __fmaf_rn(x[i], x[i], sum);
  }
  scratch.lanes[threadIdx.x] = sum;
  __syncthreads();
  // Each warp combines all 256 lanes by itself: cheaper than a second barrier.
  const float *lane = scratch.lanes + threadIdx.x % warpThreads;
  const float even = __fadd_rn(__fadd_rn(lane[0], lane[128]), __fadd_rn(lane[64], lane[192]));
  const float odd = __fadd_rn(__fadd_rn(lane[32], lane[160]), __fadd_rn(lane[96], lane[224]));
  const float total = fold32(__fadd_rn(even, odd));
  return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(total, (float)n), epsilon)));
}

/// The same by one warp: thread t holds lanes 8t … 8t + 7.
__device__ __forceinline__ float warpNormalizer(const float *x, float epsilon, int n) {
  float lane[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  const bool isAligned = ((size_t)x | 4 * (size_t)n) % 16 == 0;
#pragma unroll 2
  for (int first = 8 * (threadIdx.x % warpThreads); first < n; first += 256) {
    float v[8];
    if (isAligned) {
      const float4 none = {0, 0, 0, 0}, low = *(const float4 *)(x + first), high = first + 4 < n ? *(const float4 *)(x + first + 4) : none;
      v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w, v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
    } else {
#pragma unroll
      for (int e = 0; e < 8; e++) v[e] = first + e < n ? x[first + e] : 0.0f;
    }
#pragma unroll
    for (int e = 0; e < 8; e++) lane[e] = __fmaf_rn(v[e], v[e], lane[e]);
  }
  return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(fold256(lane), (float)n), epsilon)));
}

/// (x · r) · w, or x where there is no norm.
__device__ __forceinline__ float normalized(const float *x, const float *weight, float r, int i) {
  return weight ? __fmul_rn(__fmul_rn(x[i], r), weight[i]) : x[i];
}

/// RMSNorm (without weight: none) and quantiser of one row by a block of 256 threads.
///
/// codes: padded bytes, cleared from n on. Returns the scale and, in sum, Σ codes, both in every thread; ends with a barrier.
__device__ __forceinline__ float blockQuantize(const float *x, const float *weight, float epsilon, int n, int8_t *codes, int padded,
                                               int &sum, RowScratch &scratch) {
  const int warp = threadIdx.x / warpThreads;
  const float r = weight ? blockNormalizer(x, epsilon, n, scratch) : 0.0f;
  float absmax = 0;
  for (int i = threadIdx.x; i < n; i += blockThreads) absmax = larger(absmax, fabsf(normalized(x, weight, r, i)));
  // Floats that are not negative are ordered like their bits.
  const unsigned most = ptx::reduceMax(__float_as_uint(absmax));
  if (threadIdx.x % warpThreads == 0) scratch.absmax[warp] = most;
  __syncthreads();
  unsigned bits = 0;
#pragma unroll
  for (int w = 0; w < blockWarps; w++) bits = scratch.absmax[w] > bits ? scratch.absmax[w] : bits;
  const float scale = quantizerScale(__uint_as_float(bits));
  int own = 0;
  for (int i = threadIdx.x; i < padded; i += blockThreads) {
    const int code = i < n ? quantized(normalized(x, weight, r, i), scale) : 0;
    codes[i] = (int8_t)code;
    own += code;
  }
  own = ptx::reduceAdd(own);
  if (threadIdx.x % warpThreads == 0) scratch.sums[warp] = own;
  __syncthreads();
  sum = 0;
#pragma unroll
  for (int w = 0; w < blockWarps; w++) sum += scratch.sums[w];
  return scale;
}

/// The same by one warp, without a barrier.
__device__ __forceinline__ float warpQuantize(const float *x, const float *weight, float epsilon, int n, int8_t *codes, int padded,
                                              int &sum) {
  const int thread = threadIdx.x % warpThreads;
  const float r = weight ? warpNormalizer(x, epsilon, n) : 0.0f;
  float absmax = 0;
#pragma unroll 8
  for (int i = thread; i < n; i += warpThreads) absmax = larger(absmax, fabsf(normalized(x, weight, r, i)));
  const float scale = quantizerScale(__uint_as_float(ptx::reduceMax(__float_as_uint(absmax))));
  int own = 0;
  for (int i = thread; i < padded; i += warpThreads) {
    const int code = i < n ? quantized(normalized(x, weight, r, i), scale) : 0;
    codes[i] = (int8_t)code;
    own += code;
  }
  sum = ptx::reduceAdd(own);
  return scale;
}
