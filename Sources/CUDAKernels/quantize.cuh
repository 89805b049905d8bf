// RMSNorm and the absmax quantiser, for a block and for a warp.
//
// Rows are read with plain loads. In the cooperative step other blocks have written them; the barrier before makes that
// safe (ptx::gridArrive).
#pragma once
#include "canonical.cuh"
#include "trace.cuh"

/// Shared memory that a block's row functions need.
struct alignas(16) RowScratch {
  float lanes[blockThreads];
  unsigned absmax[blockWarps];
  int sums[blockWarps];
};
static_assert(sizeof(RowScratch) == rowScratchBytes);

/// 1 / sqrt(Σx²/n + ε) from the 256 lanes of the sum, in shared memory. The same in every thread: each warp combines
/// all lanes itself, which costs less than another barrier.
__device__ __forceinline__ float normalizerOf(const float *lanes, float epsilon, int n) {
  const float *lane = lanes + threadIdx.x % warpThreads;
  const float even = __fadd_rn(__fadd_rn(lane[0], lane[128]), __fadd_rn(lane[64], lane[192]));
  const float odd = __fadd_rn(__fadd_rn(lane[32], lane[160]), __fadd_rn(lane[96], lane[224]));
  const float total = fold32(__fadd_rn(even, odd));
  return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(__fdiv_rn(total, (float)n), epsilon)));
}

/// The same from one lane in each of 256 threads.
__device__ __forceinline__ float combinedNormalizer(float own, float epsilon, int n, RowScratch &scratch) {
  scratch.lanes[threadIdx.x] = own;
  __syncthreads();
  return normalizerOf(scratch.lanes, epsilon, n);
}

/// 1 / sqrt(Σx²/n + ε) of a row, by a block of 256 threads: thread t is lane t of the sum. The same in every thread.
__device__ __forceinline__ float blockNormalizer(const float *x, float epsilon, int n, RowScratch &scratch) {
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += blockThreads) sum = __fmaf_rn(x[i], x[i], sum);
  return combinedNormalizer(sum, epsilon, n, scratch);
}

/// The same by one warp: thread t holds lanes 8t … 8t + 7.
__device__ __forceinline__ float warpNormalizer(const float *x, float epsilon, int n) {
  float lane[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  const bool isAligned = ((size_t)x | 4 * (size_t)n) % 16 == 0;
#pragma unroll 2
  for (int first = 8 * (threadIdx.x % warpThreads); first < n; first += 256) {
    float v[8];
    if (isAligned) {
      const float4 none = {0, 0, 0, 0}, low = *(const float4 *)(x + first),
                   high = first + 4 < n ? *(const float4 *)(x + first + 4) : none;
      v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w, v[4] = high.x, v[5] = high.y, v[6] = high.z,
      v[7] = high.w;
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

/// The quantiser's scale from each thread's largest magnitude. Ends with a barrier.
__device__ __forceinline__ float blockScale(float absmax, RowScratch &scratch) {
  // Floats that are not negative are ordered like their bits.
  const unsigned most = ptx::reduceMax(__float_as_uint(absmax));
  if (threadIdx.x % warpThreads == 0) scratch.absmax[threadIdx.x / warpThreads] = most;
  __syncthreads();
  unsigned bits = 0;
#pragma unroll
  for (int w = 0; w < blockWarps; w++) bits = scratch.absmax[w] > bits ? scratch.absmax[w] : bits;
  return quantizerScale(__uint_as_float(bits));
}

/// The sum over the block, the same in every thread. Ends with a barrier, after which codes that were stored before can
/// be read.
__device__ __forceinline__ int codeSum(int own, RowScratch &scratch) {
  own = ptx::reduceAdd(own);
  if (threadIdx.x % warpThreads == 0) scratch.sums[threadIdx.x / warpThreads] = own;
  __syncthreads();
  int sum = 0;
#pragma unroll
  for (int w = 0; w < blockWarps; w++) sum += scratch.sums[w];
  return sum;
}

/// RMSNorm (without weight: none) and quantiser of one row by a block of 256 threads.
///
/// codes: padded bytes, cleared from n on. Returns the scale and, in sum, Σ codes, both in every thread; ends with a
/// barrier.
__device__ __forceinline__ float blockQuantize(const float *x, const float *weight, float epsilon, int n, int8_t *codes,
                                               int padded, int &sum, RowScratch &scratch) {
  const float r = weight ? blockNormalizer(x, epsilon, n, scratch) : 0.0f;
  float absmax = 0;
  for (int i = threadIdx.x; i < n; i += blockThreads) absmax = larger(absmax, fabsf(normalized(x, weight, r, i)));
  const float scale = blockScale(absmax, scratch);
  int own = 0;
  for (int i = threadIdx.x; i < padded; i += blockThreads) {
    const int code = i < n ? quantized(normalized(x, weight, r, i), scale) : 0;
    codes[i] = (int8_t)code;
    own += code;
  }
  sum = codeSum(own, scratch);
  return scale;
}

/// Starts copying a norm's weights to shared memory, if the row is one that `blockQuantizeStaged` keeps in registers.
/// They do not depend on the token, so this can be done before the row has arrived. The caller waits for the copies and
/// has a barrier before they are used.
__device__ __forceinline__ void stageNorm(const float *weight, int n, float *staged) {
  if (!weight || n > longestStagedRow) return;
  if (n % 4 == 0) {
    for (int i = 4 * threadIdx.x; i < n; i += 4 * blockThreads) ptx::copyAsync16(staged + i, weight + i);
  } else {
    for (int i = threadIdx.x; i < n; i += blockThreads) staged[i] = weight[i];
  }
}

/// blockQuantize for rows of at most 256 · count elements: thread t holds t, t + 256, … in registers, so that all loads
/// are under way before the first value is used.
template <int count>
__device__ __forceinline__ float quantizePiece(const float *x, const float *staged, bool hasNorm, float epsilon, int n,
                                               int8_t *codes, int padded, int &sum, RowScratch &scratch, Marks &marks) {
  // Offsets from the thread's first element are constants, which loads and stores take without an addition.
  const int left = n - (int)threadIdx.x, leftPadded = padded - (int)threadIdx.x;
  const float *own = x + threadIdx.x, *weight = staged + threadIdx.x;
  float v[count];
#pragma unroll
  for (int k = 0; k < count; k++) v[k] = k * blockThreads < left ? own[k * blockThreads] : 0.0f;
  if (hasNorm) {
    float squares = 0;  // zeros beyond the row leave it as it is
#pragma unroll
    for (int k = 0; k < count; k++) squares = __fmaf_rn(v[k], v[k], squares);
    const float r = combinedNormalizer(squares, epsilon, n, scratch);
    marks.set(markRead);
#pragma unroll
    for (int k = 0; k < count; k++)
      v[k] = k * blockThreads < left ? __fmul_rn(__fmul_rn(v[k], r), weight[k * blockThreads]) : 0.0f;
  }
  float absmax = 0;
#pragma unroll
  for (int k = 0; k < count; k++) absmax = larger(absmax, fabsf(v[k]));
  const float scale = blockScale(absmax, scratch);
  int8_t *ownCodes = codes + threadIdx.x;
  int codeTotal = 0;
#pragma unroll
  for (int k = 0; k < count; k++) {
    const int code = quantized(v[k], scale);
    if (k * blockThreads < leftPadded) ownCodes[k * blockThreads] = (int8_t)code;
    codeTotal += code;
  }
  sum = codeSum(codeTotal, scratch);
  return scale;
}

/// blockQuantize after stageNorm. Rows that are too long for registers are read three times, with norm weights from
/// memory.
__device__ __forceinline__ float blockQuantizeStaged(const float *x, const float *weight, const float *staged,
                                                     float epsilon, int n, int8_t *codes, int padded, int &sum,
                                                     RowScratch &scratch, Marks &marks) {
  // 2,560 and 6,912 columns are those of BitNet b1.58 2B-4T; the decode step has no more than 27 registers for a row.
  if (n <= 10 * blockThreads)
    return quantizePiece<10>(x, staged, weight, epsilon, n, codes, padded, sum, scratch, marks);
  if (n <= longestStagedRow)
    return quantizePiece<longestStagedRow / blockThreads>(x, staged, weight, epsilon, n, codes, padded, sum, scratch,
                                                          marks);
  return blockQuantize(x, weight, epsilon, n, codes, padded, sum, scratch);
}
