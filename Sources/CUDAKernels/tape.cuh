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

/// The sums of a warp's share of a tile row, on tensor cores: a 16-byte word is four rows × 16 columns, and a lane's four words-of-four-rows become A
/// fragments as they lie.
///
/// In lane (g = lane / 4, q = lane % 4) is the word of tile q (of four), column half g / 4 and rows 4·(g % 4) …. Row g of A is then one of these rows with
/// one of the halves, and the two halves meet different activations, so the halves' activations are columns 0 and 1 of B: of a product's eight
/// columns two are looked at, and of those each row's own. Masks 03 and 30 leave codes times 1 and 16, in sums of their own.
///
/// Exact for up to 87,000 columns: a sum grows by at most 48·128 a column.
struct TileSums {
  int acc[2][2][4] = {};  // by rows 0, 1 or 2, 3 of a word; by power; as mma.m16n8k32 lays them

  /// Which word of its tile a lane takes.
  static __device__ __forceinline__ int wordOfTile(int lane) { return lane / 8 % 2 * 4 + lane / 16 * 2 + lane / 4 % 2; }

  /// codes: the 16 activations of the lane's tile with the half g % 2.
  __device__ __forceinline__ void add(const uint4 &w, const int4 &codes) {
    const unsigned word[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
      const unsigned a = word[2 * pair], b = word[2 * pair + 1], shiftedA = a >> 2, shiftedB = b >> 2;
      ptx::mma(acc[pair][0], a & 0x03030303u, b & 0x03030303u, shiftedA & 0x03030303u, shiftedB & 0x03030303u, codes.x, codes.y);
      ptx::mma(acc[pair][1], a & 0x30303030u, b & 0x30303030u, shiftedA & 0x30303030u, shiftedB & 0x30303030u, codes.z, codes.w);
    }
  }

  /// Leaves the sixteen sums in partial.
  __device__ __forceinline__ void finish(int *partial) const {
    const int lane = threadIdx.x % warpThreads;
    const bool isRight = lane >= 16;
    int total[4];
#pragma unroll
    for (int pair = 0; pair < 2; pair++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int *low = acc[pair][0] + 2 * r, *high = acc[pair][1] + 2 * r;
        const int own = (isRight ? low[1] : low[0]) + ((isRight ? high[1] : high[0]) >> 4);
        total[2 * pair + r] = own + __shfl_xor_sync(0xFFFFFFFFu, own, 16);
      }
    if (lane < 16 && lane % 4 == 0) *(int4 *)(partial + lane) = make_int4(total[0], total[1], total[2], total[3]);
  }
};

/// The copies of one thread: word by word (16 bytes) in the order in which it multiplies them. Only the thread itself reads what it copied, so no
/// barrier is needed, just waiting for the oldest copy. The ring has room for `depth` words.
///
/// Words are taken during a phase and replaced during the hand-over after it: a multiprocessor can have only so many bytes under way, and a copy
/// beyond that holds up all loads behind it, those of the ring too.
template <int depth> class Tape {
public:
  /// ring: [depth][512] words of 16 bytes. Starts the first copies.
  __device__ __forceinline__ Tape(const DecodeModel &d, uint4 *ring) : d(d), own(ring + threadIdx.x) {
    enter();
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
    const int q = threadIdx.x % 4;
#pragma unroll 1
    while (free > 0 && layer < d.layerCount) {
      // What is left of the row.
#pragma unroll 1
      for (; free > 0 && 4 * group < tilesPerRow; free--) {
        if (4 * group + q < tilesPerRow) ptx::copyAsync16(own + filled * tapeThreads, word);
        ptx::commitAsync();
        filled = filled + 1 == depth ? 0 : filled + 1;
        group += split;
        word += 32 * split;
      }
      if (4 * group >= tilesPerRow) leaveRow();
    }
    // Groups even without a copy, at the end: their number says how old a copy is.
    for (; free > 0; free--) ptx::commitAsync();
  }

private:
  const DecodeModel &d;
  uint4 *const own;
  // Places in the ring: of the word that is taken next, and of the one that is copied next; how many words have been taken since.
  int taken = 0, filled = 0, free = depth;
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
    const int tile = 4 * member + lane % 4;
    word = tiles + ((size_t)tileRow(m, kind == 2 ? activate : project, row) * m.tilesPerRow + tile) * 8 + TileSums::wordOfTile(lane);
  }
};
