// W2A8 for 2 to 8 tokens: ternary tiles × int8 activations on int8 tensor cores.
#pragma once
#include "matrix.cuh"
#include "quantize.cuh"

constexpr int fewTokens = 8;  // columns of one mma

/// Shared memory of a block: this, then [8] rows of codes, `fewStride(tilesPerRow)` bytes apart, then the staged norm.
/// The partial sums of products reuse the quantiser's memory.
struct alignas(16) FewScratch {
  union {
    int partial[2][blockWarps][tileRowCount][fewTokens];
    float lanes[fewTokens][blockThreads];
    RowScratch row;
  };
  unsigned absmax[fewTokens][blockWarps];
  int warpSums[fewTokens][blockWarps];
  float normalizers[fewTokens];
  float scales[fewTokens];
  int sums[fewTokens];
};
static_assert(sizeof(FewScratch) == fewScratchBytes);

/// Whole groups of four tiles, and 16 bytes more: then the eight lanes that load together hit eight different bank
/// groups.
__device__ __forceinline__ int fewStride(int tilesPerRow) { return (tilesPerRow + 3) / 4 * 128 + 16; }

/// Walks a warp through its share of a matrix, with teams and rounds as in `Gemv`.
///
/// A tile is the A operand of m16n8k32 and tokens are the columns of B. Lane (g = lane / 4, q = lane % 4) takes its
/// words from tile q of four neighbours, rows g and g + 8, so that every word is loaded once, by one lane; step i
/// multiplies the columns 4i … 4i + 3 of both halves of all four tiles, under mask i, so that each step's sums are
/// multiplied by one power of four. (The order of k inside a dot product is free as long as A and B agree.)
class FewGemm {
public:
  __device__ __forceinline__ FewGemm(const Matrix &matrix, Outcome outcome, int split, int block, int blocks)
      : m(matrix), outcome(outcome), split(split), teams(blockWarps / split) {
    const int warp = threadIdx.x / warpThreads;
    member = warp % split;
    row = block * teams + warp / split;
    rowStep = blocks * teams;
    load(next, row, member);
  }

  /// codes: [8][fewStride]; tokens: 1 to 8; token t of the block is row `firstToken + t` of the target.
  __device__ __forceinline__ void run(const int8_t *codes, int tokens, int firstToken, const Target &target,
                                      FewScratch &scratch) {
    const int warp = threadIdx.x / warpThreads, g = threadIdx.x % warpThreads / 4, q = threadIdx.x % 4;
    const int8_t *activations = codes + g * fewStride(m.tilesPerRow) + q * tileColumnCount;
    int set = 0;
    for (int first = row - warp / split; first < m.tileRows; first += rowStep, row += rowStep, set ^= 1) {
      int acc[4][4] = {};
      if (row < m.tileRows) {
        for (int group = member; 4 * group < m.tilesPerRow; group += split * ahead) {
          unsigned now[ahead][4];
#pragma unroll
          for (int a = 0; a < ahead; a++)
#pragma unroll
            for (int i = 0; i < 4; i++) now[a][i] = next[a][i];
          const bool endsRow = 4 * (group + split * ahead) >= m.tilesPerRow;
          load(next, endsRow ? row + rowStep : row, endsRow ? member : group + split * ahead);
#pragma unroll
          for (int a = 0; a < ahead; a++) {
            const int tile = 4 * (group + split * a);
            if (tile < m.tilesPerRow) multiply(acc, now[a], activations + tile * tileColumnCount);
          }
        }
      }
      finish(acc, scratch.partial[set][warp]);
      __syncthreads();
      deliver(first, scratch.partial[set], tokens, firstToken, target, scratch);
    }
  }

private:
  static constexpr int ahead = 3;  // groups of four tiles in flight for each warp

  const Matrix &m;
  const Outcome outcome;
  const int split, teams;
  int member, row, rowStep;
  unsigned next[ahead][4];

  __device__ __forceinline__ void load(unsigned (&w)[ahead][4], int v, int group) const {
    const int g = threadIdx.x % warpThreads / 4, q = threadIdx.x % 4;
    const unsigned *tiles = (const unsigned *)m.tiles + (size_t)tileRow(m, outcome, v) * m.tilesPerRow * 32 + g;
#pragma unroll
    for (int a = 0; a < ahead; a++) {
      const int tile = 4 * (group + split * a) + q;
      const bool valid = v < m.tileRows && tile < m.tilesPerRow;
      // Rows g and g + 8 of the left half, then of the right: the order of the A fragment. Zero words add nothing.
#pragma unroll
      for (int i = 0; i < 4; i++) w[a][i] = valid ? ptx::loadStream(tiles + tile * 32 + i % 2 * 16 + i / 2 * 8) : 0;
    }
  }

  static __device__ __forceinline__ void multiply(int (&acc)[4][4], const unsigned (&w)[4], const int8_t *activations) {
    const uint4 left = *(const uint4 *)activations, right = *(const uint4 *)(activations + 16);
    ptx::mma(acc[0], w[0] & 0x03030303u, w[1] & 0x03030303u, w[2] & 0x03030303u, w[3] & 0x03030303u, left.x, right.x);
    ptx::mma(acc[1], w[0] & 0x0C0C0C0Cu, w[1] & 0x0C0C0C0Cu, w[2] & 0x0C0C0C0Cu, w[3] & 0x0C0C0C0Cu, left.y, right.y);
    ptx::mma(acc[2], w[0] & 0x30303030u, w[1] & 0x30303030u, w[2] & 0x30303030u, w[3] & 0x30303030u, left.z, right.z);
    ptx::mma(acc[3], w[0] & 0xC0C0C0C0u, w[1] & 0xC0C0C0C0u, w[2] & 0xC0C0C0C0u, w[3] & 0xC0C0C0C0u, left.w, right.w);
  }

  static __device__ __forceinline__ void finish(const int (&acc)[4][4], int (&partial)[tileRowCount][fewTokens]) {
    const int g = threadIdx.x % warpThreads / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < 4; i++)
      partial[g + i / 2 * 8][2 * q + i % 2] = acc[0][i] + (acc[1][i] >> 2) + (acc[2][i] >> 4) + (acc[3][i] >> 6);
  }

  __device__ __forceinline__ void deliver(int first, const int (&partial)[blockWarps][tileRowCount][fewTokens],
                                          int tokens, int firstToken, const Target &target,
                                          const FewScratch &scratch) const {
    // Neighbouring threads take neighbouring rows of one token: they write side by side.
    for (int place = threadIdx.x; place < teams * tileRowCount * fewTokens; place += blockThreads) {
      const int r = place % tileRowCount, token = place / tileRowCount % fewTokens,
                team = place / (tileRowCount * fewTokens);
      if (token >= tokens || first + team >= m.tileRows) continue;
      const float s = scratch.scales[token];
      const int here = total(partial, team, r, token) - 2 * scratch.sums[token];
      if (outcome == activate) {
        if (team % 2 == 0)
          storeActivated(m, target, (first + team) / 2 * tileRowCount + r, firstToken + token, here,
                         total(partial, team + 1, r, token) - 2 * scratch.sums[token], s);
      } else {
        store(m, outcome, target, (first + team) * tileRowCount + r, firstToken + token, here, s);
      }
    }
  }

  __device__ __forceinline__ int total(const int (&partial)[blockWarps][tileRowCount][fewTokens], int team, int r,
                                       int token) const {
    int sum = 0;
    for (int w = 0; w < split; w++) sum += partial[team * split + w][r][token];
    return sum;
  }
};

/// Norm and quantiser of up to `group` rows of at most 256 · count elements, from row `first` on: thread t holds t, t +
/// 256, … of each in registers, so that all loads are under way before the first value is used, and the rows share the
/// barriers. One warp for each row combines the block's results. isWhole: rows have exactly 256 ·
/// count elements, so that nothing is compared with their ends.
template <int count, int group, bool isWhole>
__device__ __forceinline__ void quantizeGroup(const float *x, int stride, const float *staged, bool hasNorm,
                                              float epsilon, int n, int bytes, int first, int tokens, int8_t *codes,
                                              FewScratch &scratch) {
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  const int left = isWhole ? count * blockThreads : n - (int)threadIdx.x,
            leftBytes = isWhole ? count * blockThreads : bytes - (int)threadIdx.x;
  const bool finishes = warp < group && first + warp < tokens;
  float v[group][count];
#pragma unroll
  for (int t = 0; t < group; t++) {
    const float *own = x + (size_t)(first + t) * stride + threadIdx.x;
    if (first + t < tokens) {
#pragma unroll
      for (int k = 0; k < count; k++) v[t][k] = k * blockThreads < left ? own[k * blockThreads] : 0.0f;
    } else {
#pragma unroll
      for (int k = 0; k < count; k++) v[t][k] = 0.0f;
    }
  }
  ptx::waitAsync<0>();
  if (hasNorm) {
#pragma unroll
    for (int t = 0; t < group; t++) {
      float squares = 0;  // zeros beyond the row leave it as it is
#pragma unroll
      for (int k = 0; k < count; k++) squares = __fmaf_rn(v[t][k], v[t][k], squares);
      scratch.lanes[t][threadIdx.x] = squares;
    }
    __syncthreads();
    if (finishes) {
      const float r = normalizerOf(scratch.lanes[warp], epsilon, n);
      if (lane == 0) scratch.normalizers[warp] = r;
    }
    __syncthreads();
    float r[group];
#pragma unroll
    for (int t = 0; t < group; t++) r[t] = first + t < tokens ? scratch.normalizers[t] : 0.0f;
#pragma unroll
    for (int k = 0; k < count; k++) {
      if (k * blockThreads < left) {  // beyond the row zeros stay, also where r is not finite
        const float weight = staged[threadIdx.x + k * blockThreads];
#pragma unroll
        for (int t = 0; t < group; t++) v[t][k] = __fmul_rn(__fmul_rn(v[t][k], r[t]), weight);
      }
    }
  }
#pragma unroll
  for (int t = 0; t < group; t++) {
    float absmax = 0;
#pragma unroll
    for (int k = 0; k < count; k++) absmax = larger(absmax, fabsf(v[t][k]));
    const unsigned most =
        ptx::reduceMax(__float_as_uint(absmax));  // floats that are not negative are ordered like their bits
    if (lane == 0) scratch.absmax[t][warp] = most;
  }
  __syncthreads();
  if (finishes) {
    const float s = quantizerScale(__uint_as_float(ptx::reduceMax(scratch.absmax[warp][lane % blockWarps])));
    if (lane == 0) scratch.scales[first + warp] = s;
  }
  __syncthreads();
#pragma unroll
  for (int t = 0; t < group; t++) {
    const float s = first + t < tokens ? scratch.scales[first + t] : 0.0f;
    int8_t *own = codes + (first + t) * bytes + threadIdx.x;
    unsigned sum = 0;
#pragma unroll
    for (int k = 0; k < count; k++) {
      // The code is the low byte; the bias that all have in common is subtracted from their sum at once.
      const unsigned bits = quantizedBits(v[t][k], s);
      if (k * blockThreads < leftBytes) own[k * blockThreads] = (int8_t)bits;
      sum += bits;
    }
    if (!isWhole)
      for (int i = count * blockThreads; i < leftBytes; i += blockThreads) own[i] = 0;
    const int total = ptx::reduceAdd((int)(sum - count * quantizedBias));
    if (lane == 0) scratch.warpSums[first + t][warp] = total;
  }
}

/// Norm and quantiser of up to eight rows, by the block; rows from `tokens` on become zeros. Ends with a barrier.
///
/// staged: where `stageNorm` puts the weights; its copies need not have arrived.
__device__ __forceinline__ void quantizeFew(const float *x, int stride, const float *norm, const float *staged,
                                            float epsilon, const Matrix &m, int tokens, int8_t *codes,
                                            FewScratch &scratch) {
  const int n = m.columns, bytes = fewStride(m.tilesPerRow);
  constexpr int longest = longestStagedRow / blockThreads;
  constexpr int longGroup = 2;  // rows that fit a thread's registers, 27 each: four spill
  if (n == 10 * blockThreads) {
    quantizeGroup<10, fewTokens, true>(x, stride, staged, norm, epsilon, n, bytes, 0, tokens, codes, scratch);
  } else if (n == longestStagedRow) {
#pragma unroll 1
    for (int first = 0; first < fewTokens; first += longGroup)
      quantizeGroup<longest, longGroup, true>(x, stride, staged, norm, epsilon, n, bytes, first, tokens, codes,
                                              scratch);
  } else if (n < longestStagedRow) {
#pragma unroll 1
    for (int first = 0; first < fewTokens; first += longGroup)
      quantizeGroup<longest, longGroup, false>(x, stride, staged, norm, epsilon, n, bytes, first, tokens, codes,
                                               scratch);
  } else {
#pragma unroll 1
    for (int t = 0; t < fewTokens; t++) {
      int sum = 0;
      int8_t *own = codes + t * bytes;
      const float s =
          t < tokens ? blockQuantize(x + (size_t)t * stride, norm, epsilon, n, own, bytes, sum, scratch.row) : 0.0f;
      if (t >= tokens)
        for (int i = threadIdx.x; i < bytes; i += blockThreads) own[i] = 0;
      if (threadIdx.x < blockWarps) scratch.warpSums[t][threadIdx.x] = threadIdx.x == 0 ? sum : 0;
      if (threadIdx.x == 0) scratch.scales[t] = s;
    }
  }
  __syncthreads();
  // Read after the barrier that comes before products are delivered.
  if (threadIdx.x < fewTokens) {
    int sum = 0;
#pragma unroll
    for (int w = 0; w < blockWarps; w++) sum += scratch.warpSums[threadIdx.x][w];
    scratch.sums[threadIdx.x] = sum;
  }
}
