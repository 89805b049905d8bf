// A row's norm and quantiser in the decode step of one sequence, by a block of 512 threads.
#pragma once
#include "quantize.cuh"

constexpr int oneThreads = 512, oneWarps = oneThreads / warpThreads;

/// Shared memory that the functions of this file need.
struct alignas(16) OneRowScratch {
  float lanes[blockThreads];
  unsigned absmax[oneWarps];
  int sums[oneWarps];
};

/// The quantiser's scale from each thread's largest magnitude. Contains a barrier.
__device__ __forceinline__ float oneScale(float absmax, OneRowScratch &scratch) {
  const int lane = threadIdx.x % warpThreads;
  const unsigned most = ptx::reduceMax(__float_as_uint(absmax));
  if (lane == 0) scratch.absmax[threadIdx.x / warpThreads] = most;
  __syncthreads();
  // Every warp combines the sixteen maxima itself.
  return quantizerScale(__uint_as_float(ptx::reduceMax(scratch.absmax[lane % oneWarps])));
}

/// The sum over the block, the same in every thread. Contains a barrier, after which codes that were stored before can
/// be read.
__device__ __forceinline__ int oneSum(int own, OneRowScratch &scratch) {
  const int lane = threadIdx.x % warpThreads;
  own = ptx::reduceAdd(own);
  if (lane == 0) scratch.sums[threadIdx.x / warpThreads] = own;
  __syncthreads();
  return ptx::reduceAdd(lane < oneWarps ? scratch.sums[lane] : 0);
}

/// A row that a barrier with a fence has made visible.
struct PlainRow {
  const float *x;

  __device__ __forceinline__ float at(int i) const { return x[i]; }
  /// Asks for elements first, first + 256, … before the end; zeros beyond it.
  template <int count> __device__ __forceinline__ void ask(float (&v)[count], int first, int end) const {
#pragma unroll
    for (int k = 0; k < count; k++) v[k] = k * blockThreads < end - first ? x[first + k * blockThreads] : 0.0f;
  }
  /// Waits for the elements that were asked for.
  template <int count> __device__ __forceinline__ void receive(float (&)[count], int, int) const {}
};

/// A row's elements by threads: thread t holds those of lane t % 256 of the canonical sum, the first half of them for t
/// < 256, the others for t ≥ 256. `half` (at most `most`) elements each, so rows of up to 512·half. The norm's weights
/// are loaded first: they do not depend on the step.
template <int most> struct OneRow {
  float weight[most];
  int first;  // the thread's first element

  template <int half> __device__ __forceinline__ void loadNorm(const float *norm, int n) {
    first = (int)threadIdx.x % blockThreads + (threadIdx.x < blockThreads ? 0 : half * blockThreads);
#pragma unroll
    for (int k = 0; k < half; k++)
      weight[k] = norm && k * blockThreads < n - first ? norm[first + k * blockThreads] : 1.0f;
  }

  /// Norm and quantiser; calls `afterRead` when the row has been read. Returns the scale and, in sum, Σ codes; ends with
  /// a barrier, after which the codes can be read.
  template <int half, class Source, class Then>
  __device__ __forceinline__ float quantize(const Source &x, bool hasNorm, float epsilon, int n, int8_t *codes,
                                            int padded, int &sum, OneRowScratch &scratch, Marks &marks,
                                            const Then &afterRead) {
    float v[half];
    const int left = n - first;
    x.ask(v, first, n);
    x.receive(v, first, n);
    if (hasNorm) {
      // A lane's sum is one chain over the elements of two threads; zeros beyond the row leave it as it is.
      float *lane = scratch.lanes + threadIdx.x % blockThreads, squares = 0;
      if (threadIdx.x < blockThreads) {
#pragma unroll
        for (int k = 0; k < half; k++) squares = __fmaf_rn(v[k], v[k], squares);
        *lane = squares;
      }
      __syncthreads();
      if (threadIdx.x >= blockThreads) {
        squares = *lane;
#pragma unroll
        for (int k = 0; k < half; k++) squares = __fmaf_rn(v[k], v[k], squares);
        *lane = squares;
      }
      __syncthreads();
      afterRead();
      const float r = normalizerOf(scratch.lanes, epsilon, n);
      marks.set(markRead);
#pragma unroll
      for (int k = 0; k < half; k++) v[k] = k * blockThreads < left ? __fmul_rn(__fmul_rn(v[k], r), weight[k]) : 0.0f;
    } else {
      afterRead();
    }
    float absmax = 0;
#pragma unroll
    for (int k = 0; k < half; k++) absmax = larger(absmax, fabsf(v[k]));
    const float scale = oneScale(absmax, scratch);
    int8_t *own = codes + first;
    int total = 0;
#pragma unroll
    for (int k = 0; k < half; k++) {
      const int code = quantized(v[k], scale);
      if (k * blockThreads < padded - first) own[k * blockThreads] = (int8_t)code;
      total += code;
    }
    sum = oneSum(total, scratch);
    return scale;
  }
};

/// The same for rows that are too long for registers: read three times, with the norm's weights from memory.
template <class Source>
__device__ __forceinline__ float quantizeLong(const Source &x, const float *norm, float epsilon, int n, int8_t *codes,
                                              int padded, int &sum, OneRowScratch &scratch) {
  float r = 0;
  if (norm) {
    if (threadIdx.x < blockThreads) {
      float squares = 0;
      for (int i = threadIdx.x; i < n; i += blockThreads) {
        const float v = x.at(i);
        squares = __fmaf_rn(v, v, squares);
      }
      scratch.lanes[threadIdx.x] = squares;
    }
    __syncthreads();
    r = normalizerOf(scratch.lanes, epsilon, n);
  }
  const auto normalizedAt = [&](int i) {
    return norm ? __fmul_rn(__fmul_rn(x.at(i), r), norm[i]) : x.at(i);
  };
  float absmax = 0;
  for (int i = threadIdx.x; i < n; i += oneThreads) absmax = larger(absmax, fabsf(normalizedAt(i)));
  const float scale = oneScale(absmax, scratch);
  int total = 0;
  for (int i = threadIdx.x; i < padded; i += oneThreads) {
    const int code = i < n ? quantized(normalizedAt(i), scale) : 0;
    codes[i] = (int8_t)code;
    total += code;
  }
  sum = oneSum(total, scratch);
  return scale;
}

/// The input of a product: its norm's weights, loaded before the hand-over, and then the row itself.
struct OneInput {
  const float *norm;
  int columns;
  OneRow<14> row;
  // 2,560 and 6,912 columns are those of BitNet b1.58 2B-4T.
  __device__ __forceinline__ bool isShort() const { return columns <= 5 * oneThreads; }
  __device__ __forceinline__ bool isLong() const { return columns > 14 * oneThreads; }

  __device__ __forceinline__ void ask(const float *weights, int count) {
    norm = weights;
    columns = count;
    if (isShort())
      row.loadNorm<5>(norm, columns);
    else if (!isLong())
      row.loadNorm<14>(norm, columns);
  }

  /// As OneRow::quantize, for a row of any length.
  template <class Source, class Then>
  __device__ __forceinline__ float quantize(const Source &x, float epsilon, int8_t *codes, int padded, int &sum,
                                            OneRowScratch &scratch, Marks &marks, const Then &afterRead) {
    if (isShort()) return row.quantize<5>(x, norm, epsilon, columns, codes, padded, sum, scratch, marks, afterRead);
    if (!isLong()) return row.quantize<14>(x, norm, epsilon, columns, codes, padded, sum, scratch, marks, afterRead);
    const float s = quantizeLong(x, norm, epsilon, columns, codes, padded, sum, scratch);
    afterRead();
    return s;
  }
};
