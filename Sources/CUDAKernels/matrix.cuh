// A ternary matrix in tiles (Sources/Ternary/Tile.swift), and the outcomes of its products.
#pragma once
#include "canonical.cuh"

constexpr int tileRowCount = 16;
constexpr int tileColumnCount = 32;
constexpr int layerWords = sizeof(DecodeLayer) / 16;  // of 16 bytes
static_assert(sizeof(DecodeLayer) % 16 == 0);

/// The outcome of products.
enum Outcome {
  /// out[token][output + row] = product · (scale / s)
  project,
  /// x[token][row] += product · (scale / s), rounded twice
  addToResidual,
  /// out[token][row] = act(gate) · up; gate and up are parts 0 and 1
  activate,
  /// The integers themselves, out[token][row] over all rows of the stack.
  exact
};

/// The outcome of a layer's matrix.
__device__ __forceinline__ Outcome outcomeOf(int role) {
  return role == roleQueryKeyValue ? project : role == roleGateUp ? activate : addToResidual;
}

/// Whether a layer's matrix reads the heads or the gated activation instead of the residual stream.
__device__ __forceinline__ bool readsInner(int role) { return role == roleAttentionOutput || role == roleDown; }

/// The tile row that is the v-th to be worked on. For `activate`, gate and up take turns, so that the two rows that
/// belong together are computed side by side.
__device__ __forceinline__ int tileRow(const Matrix &m, Outcome outcome, int v) {
  if (outcome != activate) return v;
  return v % 2 ? m.part[1].firstRow / tileRowCount + v / 2 : v / 2;
}

/// Finds a row's place in the output and its scale; returns false for a row of padding.
__device__ __forceinline__ bool findPart(const Matrix &m, int row, int &output, float &scale) {
  // Selects, not an index: an index that is not constant would put the parts on the stack.
  Part part = m.part[0];
#pragma unroll
  for (int i = 1; i < 3; i++)
    if (i < m.parts && row >= m.part[i].firstRow) part = m.part[i];
  output = part.output + row - part.firstRow;
  scale = part.scale;
  return row - part.firstRow < part.rows;
}

/// The part that a row belongs to, or the padding after it. (Used by `findPart`, it would cost other kernels
/// registers.)
__device__ __forceinline__ Part partOf(const Matrix &m, int row) {
  Part part = m.part[0];
#pragma unroll
  for (int i = 1; i < 3; i++)
    if (i < m.parts && row >= m.part[i].firstRow) part = m.part[i];
  return part;
}

/// Stores one product of one token; s is the token's activation scale. Not for `activate`.
__device__ __forceinline__ void store(const Matrix &m, Outcome outcome, const Target &t, int row, int token,
                                      int product, float s) {
  if (outcome == exact) {
    ((int *)t.out)[(size_t)token * t.stride + row] = product;
    return;
  }
  int output;
  float scale;
  if (!findPart(m, row, output, scale)) return;
  const float y = __fmul_rn((float)product, __fdiv_rn(scale, s));
  float *place = (float *)t.out + (size_t)token * t.stride + output;
  *place = outcome == addToResidual ? __fadd_rn(ptx::loadCoherent(place), y) : y;
}

/// Stores the activation of a gate and an up product.
__device__ __forceinline__ void storeActivated(const Matrix &m, const Target &t, int row, int token, int gate, int up,
                                               float s) {
  if (row >= m.part[0].rows) return;
  const float g = __fmul_rn((float)gate, __fdiv_rn(m.part[0].scale, s)),
              u = __fmul_rn((float)up, __fdiv_rn(m.part[1].scale, s));
  ((float *)t.out)[(size_t)token * t.stride + row] = gated(t.isSquaredReLU, g, u);
}

/// Multiplies a lane's word of four tiles (four rows × 16 columns) with its 16 activations. acc: by row, then by power
/// of four.
__device__ __forceinline__ void multiplyWord(int (&acc)[4][4], const uint4 &w, const int4 &a) {
  const unsigned word[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
  for (int r = 0; r < 4; r++) {
    acc[r][0] = ptx::dp4a(word[r] & 0x03030303u, a.x, acc[r][0]);
    acc[r][1] = ptx::dp4a(word[r] & 0x0C0C0C0Cu, a.y, acc[r][1]);
    acc[r][2] = ptx::dp4a(word[r] & 0x30303030u, a.z, acc[r][2]);
    acc[r][3] = ptx::dp4a(word[r] & 0xC0C0C0C0u, a.w, acc[r][3]);
  }
}

/// Adds up the lanes of a warp that hold the same rows, those that differ in the tile (bits 3, 4) or the column half
/// (bit 1), into the sixteen sums of a tile row.
__device__ __forceinline__ void sumLanes(const int (&acc)[4][4], int *partial) {
  const int lane = threadIdx.x % warpThreads;
  int total[4];
#pragma unroll
  for (int r = 0; r < 4; r++) {
    total[r] = acc[r][0] + (acc[r][1] >> 2) + (acc[r][2] >> 4) + (acc[r][3] >> 6);
#pragma unroll
    for (int bit = 2; bit <= 16; bit *= bit == 2 ? 4 : 2) total[r] += __shfl_xor_sync(0xFFFFFFFFu, total[r], bit);
  }
  if ((lane & ~5) == 0)
    *(int4 *)(partial + lane / 4 * 8 + lane % 2 * 4) = make_int4(total[0], total[1], total[2], total[3]);
}

/// Stores neighbours at once where their address is aligned.
template <class Value> __device__ __forceinline__ void storeRun(Value *place, const Value (&values)[2]) {
  struct alignas(8) Run {
    Value x, y;
  };
  if ((size_t)place % 8 == 0) {
    *(Run *)place = Run{values[0], values[1]};
  } else {
    place[0] = values[0];
    place[1] = values[1];
  }
}
template <class Value> __device__ __forceinline__ void storeRun(Value *place, const Value (&values)[4]) {
  struct alignas(16) Run {
    Value x, y, z, w;
  };
  if ((size_t)place % 16 == 0) {
    *(Run *)place = Run{values[0], values[1], values[2], values[3]};
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++) place[i] = values[i];
  }
}

/// Stores the first `count` values: some, all, or none.
template <int Count> __device__ __forceinline__ void storeSome(float *place, const float (&values)[Count], int count) {
  if (count >= Count) return storeRun(place, values);
#pragma unroll
  for (int i = 0; i < Count; i++)
    if (i < count) place[i] = values[i];
}

/// `store` for neighbouring rows of one tile.
template <int Count>
__device__ __forceinline__ void storeRows(const Matrix &m, Outcome outcome, const Target &t, int row, int token,
                                          const int (&products)[Count], float s) {
  if (outcome == exact) return storeRun((int *)t.out + (size_t)token * t.stride + row, products);
  const Part part = partOf(m, row);
  const int inPart = row - part.firstRow, count = part.rows - inPart;
  const float factor = __fdiv_rn(part.scale, s);
  float *place = (float *)t.out + (size_t)token * t.stride + part.output + inPart;
  float y[Count];
#pragma unroll
  for (int i = 0; i < Count; i++) {
    y[i] = __fmul_rn((float)products[i], factor);
    if (outcome == addToResidual && i < count) y[i] = __fadd_rn(ptx::loadCoherent(place + i), y[i]);
  }
  storeSome(place, y, count);
}

/// `storeActivated` for neighbouring rows of one tile.
template <int Count>
__device__ __forceinline__ void storeActivatedRows(const Matrix &m, const Target &t, int row, int token,
                                                   const int (&gate)[Count], const int (&up)[Count], float s) {
  const float gateFactor = __fdiv_rn(m.part[0].scale, s), upFactor = __fdiv_rn(m.part[1].scale, s);
  float y[Count];
#pragma unroll
  for (int i = 0; i < Count; i++)
    y[i] = gated(t.isSquaredReLU, __fmul_rn((float)gate[i], gateFactor), __fmul_rn((float)up[i], upFactor));
  storeSome((float *)t.out + (size_t)token * t.stride + row, y, m.part[0].rows - row);
}
