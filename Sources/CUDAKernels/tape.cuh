// The ternary weights of all layers as one tape: a thread knows which words it will multiply long before the activations are there, so it
// keeps copies of the next ones under way in shared memory, across hand-overs and layers. Memory is never idle while blocks wait.
#pragma once
#include "matrix.cuh"

constexpr int tapeThreads = 512, tapeWarps = tapeThreads / warpThreads;

/// A warp's way through its share of a matrix: a block's sixteen warps are teams of `split` warps; a team works on one tile row, each warp
/// on every split-th group of four tiles.
struct TapeShare {
  int split, teams, member, team;

  __device__ __forceinline__ TapeShare(int split) : split(split), teams(tapeWarps / split) {
    const int warp = threadIdx.x / warpThreads;
    member = warp % split;
    team = warp / split;
  }
  __device__ __forceinline__ int firstRow() const { return blockIdx.x * teams + team; }
  __device__ __forceinline__ int rowStep() const { return gridDim.x * teams; }
};

/// The copies of one thread: word by word (16 bytes) in the order in which it multiplies them. Only the thread itself reads what it copied, so no
/// barrier is needed, just waiting for the oldest copy. The ring has room for `depth` words.
///
/// Words come in two steps. A multiprocessor can have only so many bytes under way, and a copy beyond that blocks the loads behind it; from memory
/// that is reached within a phase. So each copy also asks for the same place in the next layer to come to the second-level cache, from which
/// the ring then fills in a fraction of a hand-over.
template <int depth> class Tape {
public:
  /// ring: [depth][512] words of 16 bytes. Starts the first copies.
  __device__ __forceinline__ Tape(const DecodeModel &d, uint4 *ring) : d(d), own(ring + threadIdx.x) {
    enter();
    free = depth;
    refill();
  }

  /// The next word, when its copy has come.
  __device__ __forceinline__ uint4 next() {
    if (free == depth) refill();
    // Since the last refill `free` words were taken, each with an empty group, and depth - free - 1 copies come after this word's: at least
    // depth - 1 groups are younger than its own.
    ptx::waitAsync<depth - 1>();
    const uint4 w = own[taken * tapeThreads];
    ptx::commitAsync();
    taken = taken + 1 == depth ? 0 : taken + 1;
    free++;
    return w;
  }

  /// Starts copying the next words to where those lay that have been taken, and used by now.
  __device__ __forceinline__ void refill() {
#pragma unroll 1
    for (; free > 0; free--) {
      if (layer < d.layerCount) {
        if (4 * group + (int)threadIdx.x % warpThreads / 8 < tilesPerRow) {
          ptx::copyAsync16(own + filled * tapeThreads, word);
          // One thread in eight: a line of the cache is as long as a tile.
          if (threadIdx.x % 8 == 0 && layer + 1 < d.layerCount) ptx::prefetchL2((const char *)word + d.layerStride);
        }
        group += split;
        word += 32 * split;
        if (4 * group >= tilesPerRow) leaveRow();
      }
      ptx::commitAsync();
      filled = filled + 1 == depth ? 0 : filled + 1;
    }
  }

private:
  const DecodeModel &d;
  uint4 *const own;
  // Places in the ring: of the word that is taken next, and of the one that is copied next; how many words have been taken since.
  int taken = 0, filled = 0, free = 0;
  // The word that is copied next: its place on the tape, and its address.
  int layer = 0, kind = 0, row = 0, group = 0, split = 1, tilesPerRow = 0;
  const uint4 *word = nullptr;

  /// Goes to the first word of this warp's share of the matrix, or of the next one in which it has a share.
  __device__ __forceinline__ void enter() {
    for (; layer < d.layerCount; layer++, kind = 0)
      for (; kind < 4; kind++) {
        const TapeShare share(d.splits[kind]);
        // Narrow matrices leave some members of a team without a group.
        if (share.firstRow() >= d.shapes[kind].tileRows || 4 * share.member >= d.shapes[kind].tilesPerRow) continue;
        split = share.split;
        row = share.firstRow();
        start(share.member);
        return;
      }
  }

  __device__ __forceinline__ void leaveRow() {
    const TapeShare share(split);
    row += share.rowStep();
    if (row < d.shapes[kind].tileRows) {
      start(share.member);
    } else {
      kind++;
      enter();
    }
  }

  __device__ __forceinline__ void start(int member) {
    const Matrix &m = d.shapes[kind];
    const int lane = threadIdx.x % warpThreads;
    group = member;
    tilesPerRow = m.tilesPerRow;
    const uint4 *tiles = (const uint4 *)((const char *)m.tiles + layer * d.layerStride);
    word = tiles + ((size_t)tileRow(m, kind == 2 ? activate : project, row) * m.tilesPerRow + 4 * member + lane / 8) * 8 + lane % 8;
  }
};
