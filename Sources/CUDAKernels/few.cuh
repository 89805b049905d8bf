// W2A8 for 2 to 8 tokens: ternary tiles × int8 activations on int8 tensor cores.
#pragma once
#include "matrix.cuh"
#include "quantize.cuh"

constexpr int fewTokens = 8;  // columns of one mma

/// Shared memory of a block: this, then [8] rows of codes, `fewStride(tilesPerRow)` bytes apart.
struct alignas(16) FewScratch {
  int partial[2][blockWarps][tileRowCount][fewTokens];
  float scales[fewTokens];
  int sums[fewTokens];
};
static_assert(sizeof(FewScratch) == fewScratchBytes);

/// Whole groups of four tiles, and 16 bytes more: then the eight lanes that load together hit eight different bank groups.
__device__ __forceinline__ int fewStride(int tilesPerRow) { return (tilesPerRow + 3) / 4 * 128 + 16; }

/// A warp's way through its share of a matrix, teams and rounds as in `Gemv`.
///
/// A tile is the A operand of m16n8k32 and tokens are the columns of B. Lane (g = lane / 4, q = lane % 4) takes its words from tile q of
/// four neighbours, rows g and g + 8, so that every word is loaded once, by one lane; step i multiplies the columns 4i … 4i + 3 of both
/// halves of all four tiles, under mask i, so that each step's sums stand multiplied by one power of four. (The order of k inside a dot
/// product is free as long as A and B agree.)
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
  __device__ __forceinline__ void run(const int8_t *codes, int tokens, int firstToken, const Target &target, FewScratch &scratch) {
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

  __device__ __forceinline__ void deliver(int first, const int (&partial)[blockWarps][tileRowCount][fewTokens], int tokens, int firstToken,
                                          const Target &target, const FewScratch &scratch) const {
    // Neighbouring threads take neighbouring rows of one token: they write side by side.
    for (int place = threadIdx.x; place < teams * tileRowCount * fewTokens; place += blockThreads) {
      const int r = place % tileRowCount, token = place / tileRowCount % fewTokens, team = place / (tileRowCount * fewTokens);
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

  __device__ __forceinline__ int total(const int (&partial)[blockWarps][tileRowCount][fewTokens], int team, int r, int token) const {
    int sum = 0;
    for (int w = 0; w < split; w++) sum += partial[team * split + w][r][token];
    return sum;
  }
};

/// Norm and quantiser of up to eight rows, one warp each; rows from `tokens` on become zeros. Ends with a barrier.
__device__ __forceinline__ void quantizeFew(const float *x, int stride, const float *norm, float epsilon, const Matrix &m, int tokens,
                                            int8_t *codes, FewScratch &scratch) {
  const int warp = threadIdx.x / warpThreads, bytes = fewStride(m.tilesPerRow);
  int8_t *own = codes + warp * bytes;
  if (warp < tokens) {
    int sum;
    const float s = warpQuantize(x + (size_t)warp * stride, norm, epsilon, m.columns, own, bytes, sum);
    if (threadIdx.x % warpThreads == 0) {
      scratch.scales[warp] = s;
      scratch.sums[warp] = sum;
    }
  } else {
    for (int i = threadIdx.x % warpThreads; i < bytes; i += warpThreads) own[i] = 0;
  }
  __syncthreads();
}
