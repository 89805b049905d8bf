// W2A8 product of many tokens with a ternary matrix, N rows × K columns: prompts.
//
// Shapes: tiles [N/16][K/32] of 128 bytes; codes [tokens][codeStride], scales and sums [tokens]; out [tokens][stride].
// Work: 2·N·K·tokens operations on int8 tensor cores. Bytes: weights once for each 64 tokens, activations once for each 128 rows, both
// mostly from the second-level cache.
// Bound by: tensor cores and shared memory about equally: a warp's 64 mma of a stage take 16 loads of 16 bytes a lane.
// Launch: 128 threads; grid (N/128 rounded up, tokens/64 rounded up); shared memory sizeof(GemmScratch). codeStride: a multiple of 16, at
// least K rounded up to whole tiles; codes are zero from K on.
#include "matrix.cuh"

constexpr int gemmWarps = 4, gemmThreads = gemmWarps * warpThreads;
constexpr int gemmTokens = 64, tokenTiles = gemmTokens / 8;
constexpr int stageColumns = 128, stageStride = stageColumns + 16, stages = 4;

struct GemmScratch {
  int8_t codes[stages][gemmTokens][stageStride];
};
static_assert(sizeof(GemmScratch) == gemmScratchBytes);

/// Loads the words of one tile row for a stage: as in FewGemm, lane (g, q) takes rows g and g + 8 of tile q.
__device__ __forceinline__ void loadWords(unsigned (&w)[4], const Matrix &m, int tileRow, int stage) {
  const int g = threadIdx.x % warpThreads / 4, tile = 4 * stage + threadIdx.x % 4;
  const unsigned *words = (const unsigned *)m.tiles + ((size_t)tileRow * m.tilesPerRow + tile) * 32 + g;
  const bool valid = tileRow < m.tileRows && tile < m.tilesPerRow;
#pragma unroll
  for (int i = 0; i < 4; i++) w[i] = valid ? ptx::loadStream(words + i % 2 * 16 + i / 2 * 8) : 0;
}

/// Starts copying one stage of the block's activations: 64 tokens × 128 columns.
__device__ __forceinline__ void stageCodes(GemmScratch &scratch, int stage, const int8_t *codes, int codeStride, int columns, int first, int tokens) {
#pragma unroll
  for (int i = 0; i < gemmTokens * stageColumns / 16 / gemmThreads; i++) {
    const int piece = i * gemmThreads + threadIdx.x, token = piece / (stageColumns / 16), column = piece % (stageColumns / 16) * 16;
    const bool valid = first + token < tokens && stage * stageColumns + column < columns;
    ptx::copyAsync16Zero(&scratch.codes[stage % stages][token][column],
                         codes + (valid ? (size_t)(first + token) * codeStride + stage * stageColumns + column : 0), valid);
  }
}

__device__ __forceinline__ void gemm(Outcome outcome, const Matrix &m, const int8_t *codes, int codeStride, const float *scales, const int *sums, int tokens,
                                     const Target &target, unsigned char *shared) {
  GemmScratch &scratch = *(GemmScratch *)shared;
  const int warp = threadIdx.x / warpThreads, g = threadIdx.x % warpThreads / 4, q = threadIdx.x % 4;
  const int first = blockIdx.y * gemmTokens;
  const int pair = (blockIdx.x * gemmWarps + warp) * 2;  // the warp's two tile rows; for `activate` a gate and its up row
  const int rows[2] = {tileRow(m, outcome, pair), tileRow(m, outcome, pair + 1)};
  const bool works = pair < m.tileRows;
  const int count = (m.tilesPerRow + 3) / 4, columns = m.tilesPerRow * tileColumnCount;

  int acc[2][tokenTiles][4] = {};
  unsigned next[2][4] = {};
  for (int stage = 0; stage < stages - 1; stage++) {
    if (stage < count) stageCodes(scratch, stage, codes, codeStride, columns, first, tokens);
    ptx::commitAsync();
  }
  if (works)
    for (int r = 0; r < 2; r++)
      if (pair + r < m.tileRows) loadWords(next[r], m, rows[r], 0);
  for (int stage = 0; stage < count; stage++) {
    ptx::waitAsync<stages - 2>();
    // All have their pieces of this stage, and all are done with the stage that the next copy overwrites.
    __syncthreads();
    if (stage + stages - 1 < count) stageCodes(scratch, stage + stages - 1, codes, codeStride, columns, first, tokens);
    ptx::commitAsync();
    unsigned now[2][4];
#pragma unroll
    for (int r = 0; r < 2; r++) {
#pragma unroll
      for (int i = 0; i < 4; i++) now[r][i] = next[r][i];
      if (pair + r < m.tileRows && stage + 1 < count) loadWords(next[r], m, rows[r], stage + 1);
    }
#pragma unroll
    for (int t = 0; t < tokenTiles; t++) {
      const int8_t *place = &scratch.codes[stage % stages][8 * t + g][q * tileColumnCount];
      const uint4 left = *(const uint4 *)place, right = *(const uint4 *)(place + 16);
      // Step (half, step) multiplies columns 8·step … 8·step + 7 of one half: its B fragment is two neighbouring registers of a load, so
      // that nothing has to be moved.
      const unsigned b[2][2][2] = {{{left.x, left.y}, {left.z, left.w}}, {{right.x, right.y}, {right.z, right.w}}};
#pragma unroll
      for (int r = 0; r < 2; r++)
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
          for (int step = 0; step < 2; step++) {
            const unsigned low = now[r][2 * half], high = now[r][2 * half + 1];
            ptx::mma(acc[r][t], low >> 4 * step & 0x03030303u, high >> 4 * step & 0x03030303u, low >> (4 * step + 2) & 0x03030303u,
                     high >> (4 * step + 2) & 0x03030303u, b[half][step][0], b[half][step][1]);
          }
    }
  }
  if (!works) return;
#pragma unroll
  for (int t = 0; t < tokenTiles; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int token = first + 8 * t + 2 * q + i % 2, r = g + i / 2 * 8;
      if (token >= tokens) continue;
      const float s = outcome == exact ? 1.0f : scales[token];
      const int correction = 2 * sums[token];
      if (outcome == activate) {
        storeActivated(m, target, pair / 2 * tileRowCount + r, token, acc[0][t][i] - correction, acc[1][t][i] - correction, s);
      } else {
        store(m, outcome, target, rows[0] * tileRowCount + r, token, acc[0][t][i] - correction, s);
        if (pair + 1 < m.tileRows) store(m, outcome, target, rows[1] * tileRowCount + r, token, acc[1][t][i] - correction, s);
      }
    }
}

extern "C" __global__ void __launch_bounds__(128, 3)
gemm_project(const Matrix m, const int8_t *codes, int codeStride, const float *scales, const int *sums, int tokens, const Target target) {
  DYNAMIC_SHARED(shared);
  gemm(project, m, codes, codeStride, scales, sums, tokens, target, shared);
}

extern "C" __global__ void __launch_bounds__(128, 3)
gemm_add(const Matrix m, const int8_t *codes, int codeStride, const float *scales, const int *sums, int tokens, const Target target) {
  DYNAMIC_SHARED(shared);
  gemm(addToResidual, m, codes, codeStride, scales, sums, tokens, target, shared);
}

extern "C" __global__ void __launch_bounds__(128, 3)
gemm_activate(const Matrix m, const int8_t *codes, int codeStride, const float *scales, const int *sums, int tokens, const Target target) {
  DYNAMIC_SHARED(shared);
  gemm(activate, m, codes, codeStride, scales, sums, tokens, target, shared);
}

extern "C" __global__ void __launch_bounds__(128, 3)
gemm_exact(const Matrix m, const int8_t *codes, int codeStride, const float *scales, const int *sums, int tokens, const Target target) {
  DYNAMIC_SHARED(shared);
  gemm(exact, m, codes, codeStride, scales, sums, tokens, target, shared);
}
