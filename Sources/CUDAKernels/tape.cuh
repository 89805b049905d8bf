// The ternary weights of all layers as one tape: a thread knows which words it will multiply long before the
// activations are there, so it keeps copies of the next ones under way in shared memory, across hand-overs and layers.
// Memory is never idle while blocks wait.
#pragma once
#include "matrix.cuh"

constexpr int tapeThreads = 512, tapeWarps = tapeThreads / warpThreads;

/// A warp's way through its share of a matrix: a block's sixteen warps are teams of `split` warps; a team works on one
/// tile row, each warp on every split-th group of four tiles.
struct TapeShare {
  int split, teams, member, team;

  /// split: a power of two. Divided by with shifts: a division takes some forty instructions, and every warp comes here
  /// eight times a layer.
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
/// reads what it copied, so no barrier is needed, just waiting for the oldest copy. `depth` words are under way at any
/// time.
template <int depth> class Tape {
public:
  /// ring: [depth][512] words of 16 bytes. Starts the first copies.
  __device__ __forceinline__ Tape(const DecodeModel &d, uint4 *ring) : d(d), own(ring + threadIdx.x) {
    enter();
#pragma unroll 1
    for (int i = 0; i < depth; i++) refill();
  }

  /// The next word, when its copy has come.
  __device__ __forceinline__ uint4 next() {
    ptx::waitAsync<depth - 1>();
    return own[slot * tapeThreads];
  }

  /// Starts copying the word that is `depth` words ahead to where the last one was, which has been used by now.
  __device__ __forceinline__ void refill() {
    if (layer < d.layerCount) {
      if (4 * group + (int)threadIdx.x % warpThreads / 8 < tilesPerRow)
        ptx::copyAsync16(own + slot * tapeThreads, word);
      group += split;
      word += 32 * split;
      if (4 * group >= tilesPerRow) leaveRow();
    }
    // A group even without a copy: then the number of groups says how old one is.
    ptx::commitAsync();
    slot = slot + 1 == depth ? 0 : slot + 1;
  }

private:
  const DecodeModel &d;
  uint4 *const own;
  int slot = 0;
  // The word that is copied next: its place on the tape, and its address.
  int layer = 0, role = roleQueryKeyValue, row = 0, group = 0, split = 1, tilesPerRow = 0;
  const uint4 *word = nullptr;

  /// Goes to the first word of this warp's share of the matrix, or of the next one in which it has a share.
  __device__ __forceinline__ void enter() {
    for (; layer < d.layerCount; layer++, role = roleQueryKeyValue)
      for (; role < roleCount; role++) {
        const TapeShare share(d.splits[role]);
        // Narrow matrices leave some members of a team without a group.
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
