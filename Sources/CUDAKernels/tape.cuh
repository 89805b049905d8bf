// The ternary weights of all layers as one tape: a thread knows the words it will multiply long before the activations
// arrive, so it keeps copies of the next words under way to shared memory, across hand-overs and layers. Memory never
// idles while blocks wait.
#pragma once
#include "matrix.cuh"
#include "one_row.cuh"

constexpr int tapeThreads = oneThreads, tapeWarps = oneWarps;

/// A warp's share of a matrix: a block's sixteen warps form teams of `split` warps; a team works on one tile row, each
/// warp on every split-th group of four tiles.
struct TapeShare {
  int split, teams, member, team;

  /// split: a power of two, so that shifts replace divisions: a division takes some forty instructions, and every warp
  /// runs this eight times a layer.
  __device__ __forceinline__ TapeShare(int split) : split(split) {
    const int warp = threadIdx.x / warpThreads, shift = __ffs(split) - 1;
    teams = tapeWarps >> shift;
    member = warp & (split - 1);
    team = warp >> shift;
  }
  __device__ __forceinline__ int firstRow() const { return blockIdx.x * teams + team; }
  __device__ __forceinline__ int rowStep() const { return gridDim.x * teams; }
};

/// The copies of one thread: word by word (16 bytes) in the order in which it multiplies them. Only the thread itself
/// reads its copies, so it needs no barrier, only a wait for the oldest copy. `depth` words are under way at any time.
template <int depth> class Tape {
public:
  /// ring: [depth][512] words of 16 bytes. Starts the first copies.
  __device__ __forceinline__ Tape(const DecodeModel &d, uint4 *ring) : d(d), own(ring + threadIdx.x) {
    enter();
#pragma unroll 1
    for (int i = 0; i < depth; i++) refill();
  }

  /// The next word, when its copy has arrived.
  __device__ __forceinline__ uint4 next() {
    ptx::waitAsync<depth - 1>();
    return own[slot * tapeThreads];
  }

  /// Starts copying the word that is `depth` words ahead into the place of the last word, which has been used.
  __device__ __forceinline__ void refill() {
    if (layer < d.layerCount) {
      if (4 * group + (int)threadIdx.x % warpThreads / 8 < tilesPerRow)
        ptx::copyAsync16(own + slot * tapeThreads, word);
      group += split;
      word += 32 * split;
      if (4 * group >= tilesPerRow) leaveRow();
    }
    // A group even without a copy, so that the number of groups tells a copy's age.
    ptx::commitAsync();
    slot = slot + 1 == depth ? 0 : slot + 1;
  }

private:
  const DecodeModel &d;
  uint4 *const own;
  int slot = 0;
  // The word that is copied next: its position on the tape, and its address.
  int layer = 0, role = roleQueryKeyValue, row = 0, group = 0, split = 1, tilesPerRow = 0;
  const uint4 *word = nullptr;

  /// Goes to the first word of this warp's share of the matrix, or of the next one in which it has a share.
  __device__ __forceinline__ void enter() {
    for (; layer < d.layerCount; layer++, role = roleQueryKeyValue)
      for (; role < roleCount; role++) {
        const TapeShare share(d.splits[role]);
        // In narrow matrices some members of a team have no group.
        if (share.firstRow() >= d.shapes[role].tileRows || 4 * share.member >= d.shapes[role].tilesPerRow) continue;
        split = share.split;
        row = share.firstRow();
        start(share.member);
        return;
      }
  }

  __device__ __forceinline__ void leaveRow() {
    const TapeShare share(split);
    row += share.rowStep();
    if (row < d.shapes[role].tileRows) {
      start(share.member);
    } else {
      role++;
      enter();
    }
  }

  __device__ __forceinline__ void start(int member) {
    const Matrix &m = d.shapes[role];
    const int lane = threadIdx.x % warpThreads;
    group = member;
    tilesPerRow = m.tilesPerRow;
    const uint4 *tiles = (const uint4 *)((const char *)m.tiles + layer * d.layerStride);
    word = tiles + ((size_t)tileRow(m, outcomeOf(role), row) * m.tilesPerRow + 4 * member + lane / 8) * 8 + lane % 8;
  }
};
