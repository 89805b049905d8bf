// W2A8 for one token: int8 activations × ternary tiles with dp4a.
#pragma once
#include "matrix.cuh"
#include "quantize.cuh"

/// Shared memory of a block: this, then the token's codes, then the norm's weights if rows are staged (`stageNorm`).
struct alignas(16) GemvScratch {
  RowScratch row;
  // Each warp's part of a tile row's sums; two sets, so that one can be read while the next is written.
  int partial[2][blockWarps][tileRowCount];
};
static_assert(sizeof(GemvScratch) == gemvScratchBytes);

/// Walks a warp through its share of a matrix.
///
/// A block's eight warps form `8 / split` teams; a team of `split` warps works on one tile row, each on every split-th
/// group of four tiles. A lane loads 16 bytes: four rows × 16 columns, which meet the same 16 activations. The words
/// are not shifted: under the masks 03, 0C, 30 and C0 the codes are multiplied by 1, 4, 16 and 64, each power has its
/// own sum, and the sums are shifted once. Codes are stored plus 2, so 2·Σa is subtracted at the end.
///
/// Exact for up to 87,000 columns: a sum of the highest power grows by at most 192·128 a column.
class Gemv {
public:
  /// Starts the first loads, which need no activations. The block is the `block`-th of `blocks`.
  __device__ __forceinline__ Gemv(const Matrix &matrix, Outcome outcome, int split, int block, int blocks)
      : m(matrix), outcome(outcome), split(split), teams(blockWarps / split) {
    const int warp = threadIdx.x / warpThreads;
    member = warp % split;
    row = block * teams + warp / split;
    rowStep = blocks * teams;
    load(next, row, member);
  }

  /// Multiplies the share. codes: the token's codes, [tilesPerRow · 32]; sum: Σ codes; s: the token's activation scale.
  __device__ __forceinline__ void run(const int8_t *codes, int sum, float s, const Target &target,
                                      GemvScratch &scratch) {
    const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
    const int8_t *activations = codes + lane / 8 * tileColumnCount + lane / 2 % 2 * 16;
    // Every team of the block makes the same number of rounds, because they meet at barriers.
    int set = 0;
    for (int first = row - warp / split; first < m.tileRows; first += rowStep, row += rowStep, set ^= 1) {
      int acc[4][4] = {};
      // The operands of `deliver` besides the products, loaded while the products are computed.
      const Place place = placeOf(first, s, target);
      if (row < m.tileRows) {
        for (int group = member; 4 * group < m.tilesPerRow; group += split * ahead) {
          uint4 now[ahead];
#pragma unroll
          for (int a = 0; a < ahead; a++) now[a] = next[a];
          const bool endsRow = 4 * (group + split * ahead) >= m.tilesPerRow;
          load(next, endsRow ? row + rowStep : row, endsRow ? member : group + split * ahead);
#pragma unroll
          for (int a = 0; a < ahead; a++) {
            const int tile = 4 * (group + split * a);
            if (tile + lane / 8 < m.tilesPerRow)
              multiplyWord(acc, now[a], *(const int4 *)(activations + tile * tileColumnCount));
          }
        }
      }
      sumLanes(acc, scratch.partial[set][warp]);
      __syncthreads();
      deliver(first, scratch.partial[set], sum, place, target);
    }
  }

private:
  static constexpr int ahead = 3;  // loads of 16 bytes in flight for each thread

  const Matrix &m;
  const Outcome outcome;
  const int split, teams;
  int member, row, rowStep;
  uint4 next[ahead];

  __device__ __forceinline__ void load(uint4 (&w)[ahead], int v, int group) const {
    if (v >= m.tileRows) return;
    const int lane = threadIdx.x % warpThreads;
    const uint4 *tiles = m.tiles + (size_t)tileRow(m, outcome, v) * m.tilesPerRow * 8;
#pragma unroll
    for (int a = 0; a < ahead; a++) {
      const int tile = 4 * (group + split * a) + lane / 8;
      if (tile < m.tilesPerRow) w[a] = ptx::loadStream(tiles + tile * 8 + lane % 8);
    }
  }

  /// The destination of this thread's row of a round: thread 16·team + r delivers row r of the team's tile row.
  struct Place {
    bool isUsed;
    int row;  // of the stack, or of the gated pair
    float *out;
    float factor, upFactor;
    float residual;  // the value that the product is added to
  };

  __device__ __forceinline__ Place placeOf(int first, float s, const Target &target) const {
    const int team = threadIdx.x / tileRowCount, r = threadIdx.x % tileRowCount;
    Place place = {team < teams && first + team < m.tileRows, (first + team) * tileRowCount + r, 0, 0, 0, 0};
    if (!place.isUsed || outcome == exact) return place;
    if (outcome == activate) {
      // Even teams have a gate row, the next one has its up row.
      place.row = (first + team) / 2 * tileRowCount + r;
      place.isUsed = team % 2 == 0 && place.row < m.part[0].rows;
      place.out = (float *)target.out + place.row;
      place.factor = __fdiv_rn(m.part[0].scale, s);
      place.upFactor = __fdiv_rn(m.part[1].scale, s);
      return place;
    }
    int output;
    float scale;
    place.isUsed = findPart(m, place.row, output, scale);
    place.out = (float *)target.out + output;
    place.factor = __fdiv_rn(scale, s);
    if (outcome == addToResidual && place.isUsed) place.residual = ptx::loadCoherent(place.out);
    return place;
  }

  __device__ __forceinline__ void deliver(int first, const int (&partial)[blockWarps][tileRowCount], int sum,
                                          const Place &place, const Target &target) const {
    if (!place.isUsed) return;
    const int team = threadIdx.x / tileRowCount, r = threadIdx.x % tileRowCount;
    const int here = total(partial, team, r) - 2 * sum;
    if (outcome == exact) {
      ((int *)target.out)[place.row] = here;
      return;
    }
    const float y = __fmul_rn((float)here, place.factor);
    if (outcome == activate)
      *place.out =
          gated(target.isSquaredReLU, y, __fmul_rn((float)(total(partial, team + 1, r) - 2 * sum), place.upFactor));
    else
      *place.out = outcome == addToResidual ? __fadd_rn(place.residual, y) : y;
  }

  __device__ __forceinline__ int total(const int (&partial)[blockWarps][tileRowCount], int team, int r) const {
    int sum = 0;
    for (int w = 0; w < split; w++) sum += partial[team * split + w][r];
    return sum;
  }
};
