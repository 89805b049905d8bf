// The decode step of one sequence with the weights as a tape.
#pragma once
#include "one_block.cuh"
#include "tape.cuh"

/// Shared memory of a block: this, then the tape's ring, [depth][512] words of 16 bytes, then a phase's own memory:
/// ShortScratch, or the row's codes.
struct alignas(16) OneScratch {
  OneRowScratch row;
  // Each warp's part of a tile row's sums; two sets, so that one can be read while the next is written.
  int partial[2][tapeWarps][tileRowCount];
  DecodeLayer layers[2];
};
static_assert(sizeof(OneScratch) == oneScratchBytes);

/// A block of the step.
template <int depth> struct OneStep : OneBlock {
  OneScratch &scratch;
  unsigned char *const shared;  // a phase's own memory
  Tape<depth> tape;

  __device__ __forceinline__ OneStep(const DecodeParameters &p, unsigned char *memory)
      : OneBlock(p), scratch(*(OneScratch *)memory),
        shared(memory + sizeof(OneScratch) + depth * tapeThreads * sizeof(uint4)),
        tape(p.model, (uint4 *)(memory + sizeof(OneScratch))) {}

  /// A product phase: hand-over, norm and quantiser, the share's products. One body for all four matrices of a layer.
  __device__ __forceinline__ void multiply(int index, int role) {
    Marks marks = this->marks();
    const unsigned ticket = arrive();
    marks.set(markArrived);
    const DecodeLayer &layer = scratch.layers[index % 2];
    const Matrix &m = layer.matrices[role];
    const PlainRow x = {readsInner(role) ? d.inner : d.x};
    int8_t *codes = (int8_t *)shared;
    OneInput input;
    input.ask(layer.norms[role], m.columns);
    // The next layer's entry of the table is loaded during this layer's last product.
    const bool fetches = role == roleDown && index + 1 < d.layerCount && threadIdx.x < layerWords;
    uint4 entry = make_uint4(0, 0, 0, 0);
    if (fetches) entry = ((const uint4 *)(d.layers + index + 1))[threadIdx.x];
    marks.set(markAsked);
    wait(ticket);
    marks.set(markReleased);
    if (fetches) ((uint4 *)&scratch.layers[(index + 1) % 2])[threadIdx.x] = entry;
    int sum;
    const float s =
        input.quantize(x, d.epsilon, codes, m.tilesPerRow * tileColumnCount, sum, scratch.row, marks, [] {});
    marks.set(markQuantized);
    run(m, role, codes, sum, s);
    marks.set(markDone);
  }

  /// The products of the block's share.
  __device__ __forceinline__ void run(const Matrix &m, int role, const int8_t *codes, int sum, float s) {
    const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
    const Outcome outcome = outcomeOf(role);
    const TapeShare share(d.splits[role]);
    const int8_t *activations = codes + lane / 8 * tileColumnCount + lane / 2 % 2 * 16;
    int set = 0;
    // Every team of the block makes the same number of rounds, because they meet at barriers.
    for (int first = blockIdx.x * share.teams; first < m.tileRows; first += share.rowStep(), set ^= 1) {
      const Place place = placeOf(m, outcome, share.teams, first, s);
      int acc[4][4] = {};
      if (first + share.team < m.tileRows) {
#pragma unroll 2
        for (int group = share.member; 4 * group < m.tilesPerRow; group += share.split) {
          const uint4 w = tape.next();
          const int tile = 4 * group;
          if (tile + lane / 8 < m.tilesPerRow)
            multiplyWord(acc, w, *(const int4 *)(activations + tile * tileColumnCount));
          tape.refill();
        }
      }
      sumLanes(acc, scratch.partial[set][warp]);
      __syncthreads();
      deliver(share, outcome, scratch.partial[set], sum, place);
    }
  }

  /// The destination of this thread's row of a round: thread 16·team + r delivers row r of the team's tile row.
  struct Place {
    bool isUsed;
    float *out;
    float factor, upFactor;
    float residual;  // the value that the product is added to
  };

  __device__ __forceinline__ Place placeOf(const Matrix &m, Outcome outcome, int teams, int first, float s) const {
    const int team = threadIdx.x / tileRowCount, r = threadIdx.x % tileRowCount;
    Place place = {team < teams && first + team < m.tileRows, nullptr, 0, 0, 0};
    if (!place.isUsed) return place;
    if (outcome == activate) {
      // Even teams have a gate row, the next one has its up row.
      const int row = (first + team) / 2 * tileRowCount + r;
      place.isUsed = team % 2 == 0 && row < m.part[0].rows;
      place.out = d.inner + row;
      place.factor = __fdiv_rn(m.part[0].scale, s);
      place.upFactor = __fdiv_rn(m.part[1].scale, s);
      return place;
    }
    int output;
    float scale;
    place.isUsed = findPart(m, (first + team) * tileRowCount + r, output, scale);
    place.out = (outcome == project ? d.qkv : d.x) + output;
    place.factor = __fdiv_rn(scale, s);
    if (outcome == addToResidual && place.isUsed) place.residual = ptx::loadCoherent(place.out);
    return place;
  }

  __device__ __forceinline__ void deliver(const TapeShare &share, Outcome outcome,
                                          const int (&partial)[tapeWarps][tileRowCount], int sum,
                                          const Place &place) const {
    if (!place.isUsed) return;
    const int team = threadIdx.x / tileRowCount, r = threadIdx.x % tileRowCount;
    int here = -2 * sum, up = -2 * sum;
    for (int w = 0; w < share.split; w++) here += partial[team * share.split + w][r];
    const float y = __fmul_rn((float)here, place.factor);
    if (outcome != activate) {
      *place.out = outcome == addToResidual ? __fadd_rn(place.residual, y) : y;
      return;
    }
    for (int w = 0; w < share.split; w++) up += partial[(team + 1) * share.split + w][r];
    *place.out = gated(d.isSquaredReLU, y, __fmul_rn((float)up, place.upFactor));
  }

  __device__ __forceinline__ void run() {
    if (threadIdx.x < layerWords) ((uint4 *)&scratch.layers[0])[threadIdx.x] = ((const uint4 *)d.layers)[threadIdx.x];
    embed();
#pragma unroll 1
    for (int index = 0; index < d.layerCount; index++)
#pragma unroll 1
      for (int role = roleQueryKeyValue; role < roleCount; role++) {
        if (role == roleAttentionOutput) attend(index, *(ShortScratch *)shared);
        multiply(index, role);
      }
  }
};
