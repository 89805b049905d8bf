// W2A8 for many tokens: ternary tiles × int8 activations on int8 tensor cores, both through shared memory.
#pragma once
#include "matrix.cuh"

constexpr int gemmThreads = 256;
constexpr int chunkColumns = 128;

/// How a block of `gemmThreads` works: `Groups` groups of RowWarps × TokenWarps warps divide the columns among them,
/// and each warp of a group has RowTiles · 16 rows × TokenTiles · 8 tokens.
///
/// In each round a group takes a chunk of 128 columns, four tiles wide. Chunks come by asynchronous copies, `stages -
/// 1` rounds ahead. Lane (g = lane / 4, q = lane % 4) multiplies the columns of tile q of the four, and has rows 2g and
/// 2g + 1 of each tile where the A operand of m16n8k32 has g and g + 8: then its words are neighbours, and so are its
/// results. (The order of k inside a dot product is free as long as A and B agree.)
template <int RowTiles, int TokenTiles, int RowWarps, int TokenWarps, int Groups> class Gemm {
public:
  static constexpr int tileRows = RowTiles * RowWarps, rows = tileRows * tileRowCount,
                       tokens = TokenTiles * TokenWarps * 8;
  static constexpr int groupThreads = RowWarps * TokenWarps * warpThreads;
  static constexpr int codeBytes = tokens * chunkColumns, chunkBytes = codeBytes + rows * chunkColumns / 4;
  static constexpr int stageBytes = Groups * chunkBytes;
  /// Rows of partial sums: so that the 16 lanes that store 8 bytes at once hit different banks.
  static constexpr int partialStride = rows + 4, partialBytes = Groups == 1 ? 0 : Groups * tokens * partialStride * 4;
  static_assert(groupThreads * Groups == gemmThreads && groupThreads % 64 == 0 && RowTiles % 2 == 0);

  __device__ __forceinline__ Gemm(Outcome outcome, const Matrix &matrix, const int8_t *codes, int codeStride,
                                  int allTokens, int stages, unsigned char *shared)
      : m(matrix), outcome(outcome), stages(stages), shared(shared), group(threadIdx.x / groupThreads) {
    const int thread = threadIdx.x % groupThreads;
    firstTileRow = blockIdx.x * tileRows;
    firstToken = blockIdx.y * tokens;
    tokensHere = allTokens - firstToken;
    stride = codeStride;
    codeSource = codes + (size_t)(firstToken + thread / 8) * codeStride + group * chunkColumns + thread % 8 * 16;
    const int v = firstTileRow + thread / 32;
    tileSource = m.tiles + ((size_t)tileRow(m, outcome, v) * m.tilesPerRow + 4 * group) * 8 + thread % 32;
  }

  __device__ __forceinline__ void run(const float *scales, const int *sums, const Target &target) {
    int acc[RowTiles][TokenTiles][4];
#pragma unroll
    for (int r = 0; r < RowTiles; r++)
#pragma unroll
      for (int t = 0; t < TokenTiles; t++)
#pragma unroll
        for (int i = 0; i < 4; i++) acc[r][t][i] = 0;
    float *ownScales = (float *)(shared + stages * stageBytes);
    int *ownSums = (int *)(ownScales + tokens);
    const int rounds = (m.tilesPerRow + 4 * Groups - 1) / (4 * Groups);
#pragma unroll 1
    for (int round = 0; round < stages - 1; round++) {
      if (round < rounds) copy(round, round);
      ptx::commitAsync();
    }
    if ((int)threadIdx.x < min(tokens, tokensHere)) {
      ownScales[threadIdx.x] = outcome == exact ? 1.0f : scales[firstToken + threadIdx.x];
      ownSums[threadIdx.x] = 2 * sums[firstToken + threadIdx.x];
    }
    int slot = 0;
#pragma unroll 1
    for (int round = 0; round < rounds; round++) {
      waitForRound();
      // All threads have their pieces of this round and are done with the round before, whose memory the next copies
      // take.
      __syncthreads();
      if (round + stages - 1 < rounds) copy(round + stages - 1, slot == 0 ? stages - 1 : slot - 1);
      ptx::commitAsync();
      multiply(acc, shared + slot * stageBytes + group * chunkBytes);
      slot = slot + 1 == stages ? 0 : slot + 1;
    }
    if (Groups == 1)
      deliver(acc, ownScales, ownSums, target);
    else
      deliverTotals(acc, ownScales, ownSums, target);
  }

private:
  static constexpr int codePieces = codeBytes / 16 / groupThreads,
                       tilePieces = (tileRows * 32 + groupThreads - 1) / groupThreads;

  const Matrix &m;
  const Outcome outcome;
  const int stages;
  unsigned char *const shared;
  const int group;
  int firstTileRow, firstToken, tokensHere, stride;
  const int8_t *codeSource;
  const uint4 *tileSource;

  typedef int Sums[RowTiles][TokenTiles][4];

  /// Starts copying the group's chunk of a round. Pieces of 16 bytes are permuted within 128, so that lanes that load
  /// together hit different banks.
  __device__ __forceinline__ void copy(int round, int slot) const {
    const int thread = threadIdx.x % groupThreads, tile = thread % 32 / 8;
    unsigned char *place = shared + slot * stageBytes + group * chunkBytes;
    const bool hasColumns = (round * Groups + group) * chunkColumns + thread % 8 * 16 < m.tilesPerRow * tileColumnCount;
    const bool hasTile = 4 * (round * Groups + group) + tile < m.tilesPerRow;
    const int8_t *code = codeSource + round * Groups * chunkColumns;
    unsigned char *codePlace = place + (thread / 8 * chunkColumns + (thread % 8 ^ thread / 8 % 8) * 16);
#pragma unroll
    for (int i = 0; i < codePieces; i++) {
      const int token = i * (groupThreads / 8) + thread / 8;
      ptx::copyAsync16Zero(codePlace + i * (groupThreads / 8) * chunkColumns,
                           code + (size_t)i * (groupThreads / 8) * stride, hasColumns && token < tokensHere);
    }
    unsigned char *tilePlace = place + (codeBytes + thread / 8 * 128 + (thread % 8 ^ 2 * tile) * 16);
    const uint4 *piece = tileSource + round * Groups * 32;
    // From one of the thread's rows to the next: an even number of rows in the order in which gate and up take turns.
    const int step = groupThreads / 32 / (outcome == activate ? 2 : 1) * m.tilesPerRow * 8;
#pragma unroll
    for (int i = 0; i < tilePieces; i++) {
      const int row = i * (groupThreads / 32) + thread / 32;
      if (row >= tileRows) break;
      ptx::copyAsync16Zero(tilePlace + i * (groupThreads / 32) * 512, piece + (size_t)i * step,
                           hasTile && firstTileRow + row < m.tileRows);
    }
  }

  /// Waits until this thread's copies of the oldest round have arrived: those of `stages - 2` rounds may be under way.
  __device__ __forceinline__ void waitForRound() const {
    // Comparisons for equality would become a jump through a table.
    if (stages > 3) {
      if (stages > 4)
        ptx::waitAsync<3>();
      else
        ptx::waitAsync<2>();
    } else {
      if (stages > 2)
        ptx::waitAsync<1>();
      else
        ptx::waitAsync<0>();
    }
  }

  __device__ __forceinline__ void multiply(Sums &acc, const unsigned char *chunk) {
    const int warp = threadIdx.x % groupThreads / warpThreads, g = threadIdx.x % warpThreads / 4, q = threadIdx.x % 4;
    const unsigned char *codes = chunk + (warp / RowWarps * TokenTiles * 8 + g) * chunkColumns;
    const unsigned char *tiles = chunk + codeBytes + (warp % RowWarps * RowTiles * 4 + q) * 128;
    const int codePlace = (2 * q ^ g) * 16, tilePlace = ((g / 4 * 4 + g % 4 / 2) ^ 2 * q) * 16 + g % 2 * 8;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      uint2 words[RowTiles];
      uint4 b[TokenTiles];
#pragma unroll
      for (int r = 0; r < RowTiles; r++) words[r] = *(const uint2 *)(tiles + r * 512 + (tilePlace ^ half * 32));
#pragma unroll
      for (int t = 0; t < TokenTiles; t++)
        b[t] = *(const uint4 *)(codes + t * 8 * chunkColumns + (codePlace ^ half * 16));
      // A step multiplies columns 8·step … 8·step + 7 of the half: its B fragment is two neighbouring registers of a
      // load, so that nothing has to be moved.
#pragma unroll
      for (int step = 0; step < 2; step++)
#pragma unroll
        for (int r = 0; r < RowTiles; r++) {
          const unsigned a0 = words[r].x >> 4 * step & 0x03030303u, a1 = words[r].y >> 4 * step & 0x03030303u;
          const unsigned a2 = words[r].x >> (4 * step + 2) & 0x03030303u,
                         a3 = words[r].y >> (4 * step + 2) & 0x03030303u;
#pragma unroll
          for (int t = 0; t < TokenTiles; t++)
            ptx::mma(acc[r][t], a0, a1, a2, a3, step == 0 ? b[t].x : b[t].z, step == 0 ? b[t].y : b[t].w);
        }
    }
  }

  /// Stores the sums in the registers.
  __device__ __forceinline__ void deliver(const Sums &acc, const float *scales, const int *sums,
                                          const Target &target) const {
    const int warp = threadIdx.x / warpThreads, g = threadIdx.x % warpThreads / 4, q = threadIdx.x % 4;
    const int first = firstTileRow + warp % RowWarps * RowTiles;
#pragma unroll
    for (int t = 0; t < TokenTiles; t++)
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int token = (warp / RowWarps * TokenTiles + t) * 8 + 2 * q + i;
        if (token >= tokensHere) continue;
        const float s = scales[token];
        const int sum = sums[token];
#pragma unroll
        for (int r = 0; r < RowTiles; r += outcome == activate ? 2 : 1) {
          if (first + r >= m.tileRows) continue;
          const int products[2] = {acc[r][t][i] - sum, acc[r][t][2 + i] - sum};
          if (outcome == activate) {
            const int up[2] = {acc[r + 1][t][i] - sum, acc[r + 1][t][2 + i] - sum};
            storeActivatedRows(m, target, (first + r) / 2 * tileRowCount + 2 * g, firstToken + token, products, up, s);
          } else {
            storeRows(m, outcome, target, (first + r) * tileRowCount + 2 * g, firstToken + token, products, s);
          }
        }
      }
  }

  /// Adds up the groups' sums, through shared memory, and stores the totals.
  __device__ __forceinline__ void deliverTotals(const Sums &acc, const float *scales, const int *sums,
                                                const Target &target) {
    const int warp = threadIdx.x % groupThreads / warpThreads, g = threadIdx.x % warpThreads / 4, q = threadIdx.x % 4;
    int *partial = (int *)shared;
    // All threads are done with the last chunk.
    __syncthreads();
    int *own = partial + (group * tokens + warp / RowWarps * TokenTiles * 8) * partialStride +
               warp % RowWarps * RowTiles * tileRowCount + 2 * g;
#pragma unroll
    for (int t = 0; t < TokenTiles; t++)
#pragma unroll
      for (int r = 0; r < RowTiles; r++)
#pragma unroll
        for (int i = 0; i < 2; i++)
          *(int2 *)(own + (t * 8 + 2 * q + i) * partialStride + r * tileRowCount) =
              make_int2(acc[r][t][i], acc[r][t][2 + i]);
    __syncthreads();
    // Neighbouring threads take neighbouring rows of one token: they write side by side. Gate and up tiles are taken by
    // one thread.
    constexpr int quads = rows / 4;
    const int each = outcome == activate ? quads / 2 : quads;
    for (int item = threadIdx.x; item < min(tokens, tokensHere) * each; item += gemmThreads) {
      const int token = item / each, place = item % each,
                quad = outcome == activate ? place / 4 * 8 + place % 4 : place;
      const int v = firstTileRow + quad / 4;
      if (v >= m.tileRows) continue;
      const int *from = partial + token * partialStride + quad * 4;
      int products[4], up[4];
      total(products, from, sums[token]);
      if (outcome == activate) {
        total(up, from + tileRowCount, sums[token]);
        storeActivatedRows(m, target, v / 2 * tileRowCount + quad % 4 * 4, firstToken + token, products, up,
                           scales[token]);
      } else {
        storeRows(m, outcome, target, v * tileRowCount + quad % 4 * 4, firstToken + token, products, scales[token]);
      }
    }
  }

  static __device__ __forceinline__ void total(int (&out)[4], const int *partial, int sum) {
    for (int i = 0; i < 4; i++) out[i] = -sum;
#pragma unroll
    for (int group = 0; group < Groups; group++) {
      const int4 here = *(const int4 *)(partial + group * tokens * partialStride);
      out[0] += here.x;
      out[1] += here.y;
      out[2] += here.z;
      out[3] += here.w;
    }
  }
};
