// The output head: canonical dot products of bfloat16 rows, and keys by which logits are ordered.
#pragma once
#include "quantize.cuh"

/// Orders logits as the sampler does: descending, equal ones by ascending id; a NaN counts as minus infinity. Larger
/// keys come first.
__device__ __forceinline__ uint64 logitKey(float logit, int id) {
  // Adding 0 makes one zero of two.
  const float value = logit != logit ? -__int_as_float(0x7F800000) : __fadd_rn(logit, 0.0f);
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

/// The place of element i of a row in shared memory: a thread's eight elements in two halves, so that neighbours use
/// different banks.
__device__ __forceinline__ int rowPlace(int i) { return i / 256 * 256 + i % 8 / 4 * 128 + i % 256 / 8 * 4 + i % 4; }

/// Normalises up to `Tokens` rows into shared memory, [Tokens][rowFloats]: row t from row rows[t] of x. Ends with a
/// barrier.
template <int Tokens>
__device__ __forceinline__ void normalizeForHead(const Head &head, const float *x, const int *rows, int tokens,
                                                 float *out, RowScratch &scratch) {
  const int floats = rowFloats(head.hidden);
  if (Tokens == 1) {
    const float *row = x + (size_t)rows[0] * head.hidden;
    const float r = blockNormalizer(row, head.epsilon, head.hidden, scratch);
    for (int i = threadIdx.x; i < floats; i += blockThreads)
      out[rowPlace(i)] = i < head.hidden ? normalized(row, head.norm, r, i) : 0.0f;
  } else {
    const int warp = threadIdx.x / warpThreads;
    if (warp < Tokens) {
      const bool valid = warp < tokens;
      const float *row = x + (size_t)rows[valid ? warp : 0] * head.hidden;
      const float r = valid ? warpNormalizer(row, head.epsilon, head.hidden) : 0.0f;
#pragma unroll 8
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
    pair[k] =
        (i + 2 * k < hidden ? row[i + 2 * k] : 0u) | (i + 2 * k + 1 < hidden ? (unsigned)row[i + 2 * k + 1] << 16 : 0u);
  return make_uint4(pair[0], pair[1], pair[2], pair[3]);
}

/// Adds the products of one load of eight elements of each row with the same elements of all tokens, which are read
/// once for all rows. x: the tokens' elements of this block of 256.
template <int Rows, int Tokens>
__device__ __forceinline__ void addEight(const uint4 (&w)[Rows], const float *x, int floats,
                                         float (&sum)[Rows][Tokens][8]) {
  const int lane = threadIdx.x % warpThreads;
  float weight[Rows][8];
#pragma unroll
  for (int r = 0; r < Rows; r++) {
    weight[r][0] = lowBFloat16(w[r].x), weight[r][1] = highBFloat16(w[r].x), weight[r][2] = lowBFloat16(w[r].y),
    weight[r][3] = highBFloat16(w[r].y);
    weight[r][4] = lowBFloat16(w[r].z), weight[r][5] = highBFloat16(w[r].z), weight[r][6] = lowBFloat16(w[r].w),
    weight[r][7] = highBFloat16(w[r].w);
  }
#pragma unroll
  for (int t = 0; t < Tokens; t++) {
    const float4 low = *(const float4 *)(x + t * floats + 4 * lane),
                 high = *(const float4 *)(x + t * floats + 128 + 4 * lane);
    const float value[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int r = 0; r < Rows; r++)
#pragma unroll
      for (int e = 0; e < 8; e++) sum[r][t][e] = __fmaf_rn(weight[r][e], value[e], sum[r][t][e]);
  }
}

/// The logits of one row of the table for `Tokens` normalised rows, by one warp, the same in all its threads.
template <int Tokens>
__device__ __forceinline__ void dotRow(const Head &head, int id, const float *x, float (&logit)[Tokens]) {
  const int lane = threadIdx.x % warpThreads, floats = rowFloats(head.hidden);
  const uint16_t *row = head.table + (size_t)id * head.hidden;
  float sum[1][Tokens][8] = {};
  if (head.hidden % 8 == 0) {
    // All of these loads are under way before the first is used: 5 KB a warp for one token, a whole row of 2,560.
    constexpr int ahead = Tokens == 1 ? 10 : 5;
    for (int first = 0; first < floats; first += 256 * ahead) {
      uint4 w[ahead][1];
#pragma unroll
      for (int a = 0; a < ahead; a++) {
        const int i = first + 256 * a + 8 * lane;
        w[a][0] = i < head.hidden ? ptx::loadStream((const uint4 *)(row + i)) : make_uint4(0, 0, 0, 0);
      }
#pragma unroll
      for (int a = 0; a < ahead; a++)
        if (first + 256 * a < floats) addEight(w[a], x + first + 256 * a, floats, sum);
    }
  } else {
    for (int block = 0; block < floats; block += 256) {
      const uint4 w[1] = {loadUnaligned(row, block + 8 * lane, head.hidden)};
      addEight(w, x + block, floats, sum);
    }
  }
#pragma unroll
  for (int t = 0; t < Tokens; t++) logit[t] = fold256(sum[0][t]);
}

/// Walks a warp through the table for several tokens: a few neighbouring rows at a time, because activations come from
/// shared memory, which would take longer than the multiply-adds if each row read them anew. While some elements are
/// used, the next ones are loaded.
template <int Tokens> class RowReader {
public:
  static constexpr int rows = 2;

  /// hidden must be a multiple of 8.
  __device__ __forceinline__ RowReader(const Head &head, int id, int step)
      : head(head), floats(rowFloats(head.hidden)), step(step) {
#pragma unroll
    for (int a = 0; a < ahead; a++) load(a, id, 0);
  }

  /// The logits of the rows from `id` on, and the first loads of those from `id + step` on.
  __device__ __forceinline__ void dot(int id, const float *x, float (&logit)[rows][Tokens]) {
    float sum[rows][Tokens][8] = {};
#pragma unroll 1
    for (int first = 0; first < floats; first += 256 * ahead) {
      const bool isLast = first + 256 * ahead >= floats;
      const int next = isLast ? id + step : id, nextFirst = isLast ? 0 : first + 256 * ahead;
#pragma unroll
      for (int a = 0; a < ahead; a++) {
        if (first + 256 * a < floats) addEight(w[a], x + first + 256 * a, floats, sum);
        load(a, next, nextFirst);
      }
    }
#pragma unroll
    for (int r = 0; r < rows; r++)
#pragma unroll
      for (int t = 0; t < Tokens; t++) logit[r][t] = fold256(sum[r][t]);
  }

private:
  static constexpr int ahead = 4;  // loads of each row that are under way
  const Head &head;
  const int floats, step;
  uint4 w[ahead][rows];

  __device__ __forceinline__ void load(int a, int id, int first) {
    const int i = first + 256 * a + 8 * (threadIdx.x % warpThreads);
#pragma unroll
    for (int r = 0; r < rows; r++)
      w[a][r] = id + r < head.vocabulary && i < head.hidden
                    ? ptx::loadStream((const uint4 *)(head.table + (size_t)(id + r) * head.hidden + i))
                    : make_uint4(0, 0, 0, 0);
  }
};

/// Raises best[t] to the largest key of the block's warps, and stores it in ofBlocks [tokens][mostScreenBlocks], if
/// there is one. keys: [blockWarps][Tokens] in shared memory.
template <int Tokens>
__device__ __forceinline__ void publishBest(const uint64 (&own)[Tokens], uint64 *keys, int tokens, uint64 *best,
                                            uint64 *ofBlocks = nullptr) {
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  if (lane == 0)
    for (int t = 0; t < Tokens; t++) keys[warp * Tokens + t] = own[t];
  __syncthreads();
  if ((int)threadIdx.x < tokens) {
    uint64 most = 0;
    for (int w = 0; w < blockWarps; w++)
      most = keys[w * Tokens + threadIdx.x] > most ? keys[w * Tokens + threadIdx.x] : most;
    atomicMax(best + threadIdx.x, most);
    if (ofBlocks) ofBlocks[threadIdx.x * mostScreenBlocks + blockIdx.x] = most;
  }
}

/// Stores the logits of a row of the table, and raises own[t] to their keys.
template <int Tokens>
__device__ __forceinline__ void deliverLogits(const Head &head, const float (&logit)[Tokens], int id, int tokens,
                                              float *logits, uint64 (&own)[Tokens]) {
#pragma unroll
  for (int t = 0; t < Tokens; t++) {
    const uint64 key = logitKey(logit[t], id);
    own[t] = key > own[t] ? key : own[t];
    if (threadIdx.x % warpThreads == t && t < tokens) logits[(size_t)t * head.vocabulary + id] = logit[t];
  }
}

/// Shared memory: RowScratch, keys of 8 bytes [blockWarps][Tokens], normalised rows [Tokens][rowFloats].
///
/// The logits of up to `Tokens` outputs, output t from row rows[t] of x: logits [tokens][vocabulary], and their largest
/// keys, to which best [tokens] is raised. The block computes its share of the vocabulary, one of gridDim.x.
template <int Tokens>
__device__ __forceinline__ void computeLogits(const Head &head, const float *x, const int *rows, int tokens,
                                              float *logits, uint64 *best, unsigned char *shared) {
  RowScratch &scratch = *(RowScratch *)shared;
  uint64 *keys = (uint64 *)(shared + sizeof(RowScratch));
  float *normed = (float *)(shared + sizeof(RowScratch) + sizeof(uint64) * blockWarps * Tokens);
  normalizeForHead<Tokens>(head, x, rows, tokens, normed, scratch);
  uint64 own[Tokens] = {};
  if constexpr (Tokens == 8) {
    if (head.hidden % 8 == 0) {
      constexpr int rows = RowReader<Tokens>::rows;
      const int first = rows * (blockIdx.x * blockWarps + threadIdx.x / warpThreads),
                step = rows * gridDim.x * blockWarps;
      RowReader<Tokens> reader(head, first, step);
      for (int id = first; id < head.vocabulary; id += step) {
        float logit[rows][Tokens];
        reader.dot(id, normed, logit);
#pragma unroll
        for (int r = 0; r < rows; r++)
          if (id + r < head.vocabulary) deliverLogits(head, logit[r], id + r, tokens, logits, own);
      }
      publishBest<Tokens>(own, keys, tokens, best);
      return;
    }
  }
  for (int id = blockIdx.x * blockWarps + threadIdx.x / warpThreads; id < head.vocabulary;
       id += gridDim.x * blockWarps) {
    float logit[Tokens];
    dotRow<Tokens>(head, id, normed, logit);
    deliverLogits(head, logit, id, tokens, logits, own);
  }
  publishBest<Tokens>(own, keys, tokens, best);
}
