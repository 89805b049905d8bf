// The output head: canonical dot products of bfloat16 rows, and keys by which logits are ordered.
#pragma once
#include "quantize.cuh"

/// Orders logits as the sampler does: descending, equal ones by ascending id; a NaN counts as minus infinity. Larger keys come first.
__device__ __forceinline__ uint64 logitKey(float logit, int id) {
  const float value = logit != logit ? -__int_as_float(0x7F800000) : __fadd_rn(logit, 0.0f);  // adding 0 makes one zero of two
  const unsigned bits = __float_as_uint(value);
  const unsigned ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return (uint64)ordered << 32 | (0xFFFFFFFFu - (unsigned)id);
}
__device__ __forceinline__ float logitOfKey(uint64 key) {
  const unsigned ordered = (unsigned)(key >> 32);
  return __uint_as_float(ordered & 0x80000000u ? ordered & 0x7FFFFFFFu : ~ordered);
}
__device__ __forceinline__ int idOfKey(uint64 key) { return (int)(0xFFFFFFFFu - (unsigned)key); }

/// Floats of a normalised row in shared memory, whole blocks of 256.
__device__ __forceinline__ int rowFloats(int hidden) { return (hidden + 255) / 256 * 256; }

/// Where element i of a row lies in shared memory: a thread's eight elements in two halves, so that neighbours use different banks.
__device__ __forceinline__ int rowPlace(int i) { return i / 256 * 256 + i % 8 / 4 * 128 + i % 256 / 8 * 4 + i % 4; }

/// Normalises up to `Tokens` rows into shared memory, [Tokens][rowFloats]: row t from row rows[t] of x. Ends with a barrier.
template <int Tokens>
__device__ __forceinline__ void normalizeForHead(const Head &head, const float *x, const int *rows, int tokens, float *out, RowScratch &scratch) {
  const int floats = rowFloats(head.hidden);
  if (Tokens == 1) {
    const float *row = x + (size_t)rows[0] * head.hidden;
    const float r = blockNormalizer(row, head.epsilon, head.hidden, scratch);
    for (int i = threadIdx.x; i < floats; i += blockThreads) out[rowPlace(i)] = i < head.hidden ? normalized(row, head.norm, r, i) : 0.0f;
  } else {
    const int warp = threadIdx.x / warpThreads;
    if (warp < Tokens) {
      const bool valid = warp < tokens;
      const float *row = x + (size_t)rows[valid ? warp : 0] * head.hidden;
      const float r = valid ? warpNormalizer(row, head.epsilon, head.hidden) : 0.0f;
      for (int i = threadIdx.x % warpThreads; i < floats; i += warpThreads)
        out[warp * floats + rowPlace(i)] = valid && i < head.hidden ? normalized(row, head.norm, r, i) : 0.0f;
    }
  }
  __syncthreads();
}

/// Eight bfloat16 values of a row that need not start on 16 bytes, from element i on; zeros beyond the row's end.
__device__ __forceinline__ uint4 loadUnaligned(const uint16_t *row, int i, int hidden) {
  unsigned pair[4];
  for (int k = 0; k < 4; k++)
    pair[k] = (i + 2 * k < hidden ? row[i + 2 * k] : 0u) | (i + 2 * k + 1 < hidden ? (unsigned)row[i + 2 * k + 1] << 16 : 0u);
  return make_uint4(pair[0], pair[1], pair[2], pair[3]);
}

/// Adds the products of one load of eight elements with the same elements of all tokens. x: the tokens' elements of this block of 256.
template <int Tokens> __device__ __forceinline__ void addEight(const uint4 &w, const float *x, int floats, float (&sum)[Tokens][8]) {
  const int lane = threadIdx.x % warpThreads;
  const float weight[8] = {lowBFloat16(w.x), highBFloat16(w.x), lowBFloat16(w.y), highBFloat16(w.y),
                           lowBFloat16(w.z), highBFloat16(w.z), lowBFloat16(w.w), highBFloat16(w.w)};
#pragma unroll
  for (int t = 0; t < Tokens; t++) {
    const float4 low = *(const float4 *)(x + t * floats + 4 * lane), high = *(const float4 *)(x + t * floats + 128 + 4 * lane);
    const float value[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int e = 0; e < 8; e++) sum[t][e] = __fmaf_rn(weight[e], value[e], sum[t][e]);
  }
}

/// The logits of one row of the table for `Tokens` normalised rows, by one warp, the same in all its threads.
template <int Tokens> __device__ __forceinline__ void dotRow(const Head &head, int id, const float *x, float (&logit)[Tokens]) {
  const int lane = threadIdx.x % warpThreads, floats = rowFloats(head.hidden);
  const uint16_t *row = head.table + (size_t)id * head.hidden;
  float sum[Tokens][8] = {};
  if (head.hidden % 8 == 0) {
    // All of these loads are under way before the first is used: 5 KB a warp for one token, a whole row of 2,560.
    constexpr int ahead = Tokens == 1 ? 10 : 5;
    for (int first = 0; first < floats; first += 256 * ahead) {
      uint4 w[ahead];
#pragma unroll
      for (int a = 0; a < ahead; a++) {
        const int i = first + 256 * a + 8 * lane;
        w[a] = i < head.hidden ? ptx::loadStream((const uint4 *)(row + i)) : make_uint4(0, 0, 0, 0);
      }
#pragma unroll
      for (int a = 0; a < ahead; a++)
        if (first + 256 * a < floats) addEight<Tokens>(w[a], x + first + 256 * a, floats, sum);
    }
  } else {
    for (int block = 0; block < floats; block += 256) addEight<Tokens>(loadUnaligned(row, block + 8 * lane, head.hidden), x + block, floats, sum);
  }
#pragma unroll
  for (int t = 0; t < Tokens; t++) logit[t] = fold256(sum[t]);
}

/// Raises best[t] to the largest key that the block's warps have found. keys: [blockWarps][Tokens] in shared memory.
template <int Tokens> __device__ __forceinline__ void publishBest(const uint64 (&own)[Tokens], uint64 *keys, int tokens, uint64 *best) {
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  if (lane == 0)
    for (int t = 0; t < Tokens; t++) keys[warp * Tokens + t] = own[t];
  __syncthreads();
  if ((int)threadIdx.x < tokens) {
    uint64 most = 0;
    for (int w = 0; w < blockWarps; w++) most = keys[w * Tokens + threadIdx.x] > most ? keys[w * Tokens + threadIdx.x] : most;
    atomicMax(best + threadIdx.x, most);
  }
}

/// Shared memory: RowScratch, keys of 8 bytes [blockWarps][Tokens], normalised rows [Tokens][rowFloats].
///
/// The logits of up to `Tokens` outputs, output t from row rows[t] of x: logits [tokens][vocabulary], and their largest keys, to which
/// best [tokens] is raised. The block does its share of the vocabulary among those of gridDim.x.
template <int Tokens>
__device__ __forceinline__ void computeLogits(const Head &head, const float *x, const int *rows, int tokens, float *logits, uint64 *best,
                                              unsigned char *shared) {
  RowScratch &scratch = *(RowScratch *)shared;
  uint64 *keys = (uint64 *)(shared + sizeof(RowScratch));
  float *normed = (float *)(shared + sizeof(RowScratch) + sizeof(uint64) * blockWarps * Tokens);
  normalizeForHead<Tokens>(head, x, rows, tokens, normed, scratch);
  uint64 own[Tokens] = {};
  for (int id = blockIdx.x * blockWarps + threadIdx.x / warpThreads; id < head.vocabulary; id += gridDim.x * blockWarps) {
    float logit[Tokens];
    dotRow<Tokens>(head, id, normed, logit);
#pragma unroll
    for (int t = 0; t < Tokens; t++) {
      const uint64 key = logitKey(logit[t], id);
      own[t] = key > own[t] ? key : own[t];
      if (threadIdx.x % warpThreads == t && t < tokens) logits[(size_t)t * head.vocabulary + id] = logit[t];
    }
  }
  publishBest<Tokens>(own, keys, tokens, best);
}
