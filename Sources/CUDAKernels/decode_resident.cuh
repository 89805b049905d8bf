// The decode step of one sequence with a layer's weights in shared memory.
//
// A block computes the same rows of every layer, and all its weights of a layer have a place in its shared memory.
// Once the rows of a matrix are computed, one thread starts the copies of the next layer's rows to the same place, a
// few instructions for all of them, and they have the time of a whole layer to arrive.
#pragma once
#include "matrix.cuh"
#include "one_block.cuh"

constexpr int residentRows = oneThreads / tileRowCount;  // tile rows that a block can have

/// The bits of a place of a row that has not been written: a NaN that no operation gives.
constexpr unsigned absent = 0xFFFFDEADu;

/// A row that other blocks may still be writing, and whose places are `absent` until then; or the embedding's row.
struct HandedRow {
  const float *x;
  const uint16_t *embedding;

  __device__ __forceinline__ float at(int i) const {
    if (embedding) return fromBFloat16(embedding[i]);
    float v = ptx::loadRelaxed(x + i);
    for (unsigned polls = 0; __float_as_uint(v) == absent; v = ptx::loadRelaxed(x + i))
      if (++polls == ptx::mostPolls) ptx::trap();
    return v;
  }
  template <int count> __device__ __forceinline__ void ask(float (&v)[count], int first, int end) const {
    if (embedding) {
#pragma unroll
      for (int k = 0; k < count; k++)
        v[k] = k * blockThreads < end - first ? fromBFloat16(embedding[first + k * blockThreads]) : 0.0f;
      return;
    }
#pragma unroll
    for (int k = 0; k < count; k++)
      v[k] = k * blockThreads < end - first ? ptx::loadRelaxed(x + first + k * blockThreads) : 0.0f;
  }
  template <int count> __device__ __forceinline__ void receive(float (&v)[count], int first, int end) const {
    bool lacks = false;
#pragma unroll
    for (int k = 0; k < count; k++) lacks |= __float_as_uint(v[k]) == absent;
    if (!lacks) return;
#pragma unroll
    for (int k = 0; k < count; k++)
      if (__float_as_uint(v[k]) == absent) v[k] = at(first + k * blockThreads);
  }
};

/// A warp's share of a block's rows: `count` groups of four tiles from a row and a group of it on.
struct alignas(16) ResidentRun {
  int row, group, count, unused;
};

/// A block's share of a matrix: tile rows, or for gate and up pairs of tile rows.
struct alignas(8) ResidentShare {
  int first, count;
};

/// Shared memory of a block: this, then the row's codes or ShortScratch, then the weights from DecodeModel.regions on.
struct alignas(16) ResidentScratch {
  OneRowScratch row;
  // One word for each row of the block, which the warps add their parts to. Zero between two products.
  int sums[residentRows * tileRowCount];
  ResidentRun runs[roleCount][oneWarps];
  DecodeLayer layers[2];
  ResidentShare shares[roleCount];
  uint64 arrived[roleCount];  // barriers: a layer's weights have arrived
};
static_assert(sizeof(ResidentScratch) == residentScratchBytes);

/// Adds a warp's sums of four rows a lane to those of the block. The lanes that hold the same rows differ in the tile
/// (bits 3 and 4) or the column half (bit 1).
__device__ __forceinline__ void addLanes(const int (&acc)[4][4], int *sums) {
  const int lane = threadIdx.x % warpThreads;
  int total[4];
#pragma unroll
  for (int r = 0; r < 4; r++) total[r] = acc[r][0] + (acc[r][1] >> 2) + (acc[r][2] >> 4) + (acc[r][3] >> 6);
  // Each exchange halves the rows that a lane keeps.
  const bool keepsHigh = lane & 16, keepsOdd = lane & 8;
  int two[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int give = keepsHigh ? total[i] : total[i + 2];
    two[i] = (keepsHigh ? total[i + 2] : total[i]) + __shfl_xor_sync(0xFFFFFFFFu, give, 16);
  }
  const int give = keepsOdd ? two[0] : two[1];
  int one = (keepsOdd ? two[1] : two[0]) + __shfl_xor_sync(0xFFFFFFFFu, give, 8);
  one += __shfl_xor_sync(0xFFFFFFFFu, one, 2);
  if ((lane & 2) == 0)
    atomicAdd(sums + lane / 4 % 2 * 8 + lane % 2 * 4 + (keepsHigh ? 2 : 0) + (keepsOdd ? 1 : 0), one);
}

/// A block of the step.
///
/// Rows are handed over without a fence. A row's places hold `absent` until they are written; a reader polls each of its
/// places until it holds something else. Counting arrivals says when polling is likely to succeed at once, and when all
/// blocks have read a row, so that its places can be made `absent` again.
///
/// That no reader sees a row's earlier contents follows from the hand-over before attention, which has a fence. Between
/// any two uses of a place there is one such hand-over after the place was made absent and before it is written and read
/// again:
///
///   row                  written in              read in      absent again in     fence before the next use
///   heads                attention of layer l    output       gate·up of l        attention of l + 1
///   x after the output   output of l             gate·up      down of l           attention of l + 1
///   gated                gate·up of l            down         q·k·v of l + 1      attention of l + 1
///   x after down         down of l               q·k·v        attention of l + 1  attention of l + 2 (two rows, by turns)
///
/// At the start all places are made absent before the fence of layer 0; q·k·v of layer 0 reads the embedding instead.
struct ResidentStep : OneBlock {
  ResidentScratch &scratch;
  unsigned char *const memory;
  float residual = 0;  // the residual stream's element of this thread, which computes the same row of both matrices

  __device__ __forceinline__ ResidentStep(const DecodeParameters &p, unsigned char *memory)
      : OneBlock(p), scratch(*(ResidentScratch *)memory), memory(memory) {}

  /// The rows that are handed over. The result of the last layer goes where the head reads it.
  __device__ __forceinline__ float *heads() const { return d.inner; }
  __device__ __forceinline__ float *gatedRow() const { return d.inner + d.innerStride; }
  __device__ __forceinline__ float *afterOutput() const { return d.x + d.hidden; }
  __device__ __forceinline__ float *afterDown(int index) const {
    return index + 1 == d.layerCount ? d.x : d.x + (2 + index % 2) * d.hidden;
  }

  /// Makes a row's places absent, each block some of them.
  __device__ __forceinline__ void clear(float *row, int columns) const {
    for (int i = threadIdx.x * gridDim.x + blockIdx.x; i < columns; i += oneThreads * gridDim.x)
      ptx::storeRelaxed(row + i, __uint_as_float(absent));
  }

  __device__ __forceinline__ const uint16_t *embedding() const {
    return d.embedding + (size_t)sequences.tokens[0] * d.hidden;
  }

  /// Deals out the rows, and starts the copies of the first layer.
  __device__ __forceinline__ void start() {
    const int t = threadIdx.x;
    if (t < roleCount * oneWarps) {
      const int role = t / oneWarps, warp = t % oneWarps, blocks = gridDim.x;
      const Matrix &m = d.shapes[role];
      const int units = role == roleGateUp ? m.tileRows / 2 : m.tileRows;
      const int first = blockIdx.x * units / blocks, count = (blockIdx.x + 1) * units / blocks - first;
      if (warp == 0) scratch.shares[role] = ResidentShare{first, count};
      const int groups = (m.tilesPerRow + 3) / 4, all = (role == roleGateUp ? 2 : 1) * count * groups;
      const int begin = warp * all / oneWarps, end = (warp + 1) * all / oneWarps;
      scratch.runs[role][warp] = ResidentRun{begin / groups, begin % groups, end - begin, 0};
    }
    scratch.sums[t] = 0;
    if (t < layerWords) ((uint4 *)&scratch.layers[0])[t] = ((const uint4 *)d.layers)[t];
    if (t < roleCount) ptx::initBarrier(&scratch.arrived[t]);
    clear(heads(), d.shapes[roleAttentionOutput].columns);
    clear(gatedRow(), d.shapes[roleDown].columns);
    for (int row = 1; row < 4; row++) clear(d.x + row * d.hidden, d.hidden);
    __syncthreads();
    const ResidentShare own = scratch.shares[roleDown];
    const int row = own.first * tileRowCount + t;
    if (t < own.count * tileRowCount && row < d.hidden) residual = fromBFloat16(embedding()[row]);
#pragma unroll 1
    for (int role = 0; role < roleCount; role++) copy(role, role == roleGateUp ? gate : whole, 0);
    copy(roleGateUp, up, 0);
  }

  /// The block's rows of a matrix, or of the gate or the up rows.
  enum Piece { whole, gate, up };

  /// Starts the copy of a piece of a layer, by one thread, which is not one of those with the most other work. All threads have read that of the
  /// layer before.
  __device__ __forceinline__ void copy(int role, Piece piece, int index) {
    if (threadIdx.x != oneThreads - 1 || index >= d.layerCount) return;
    const Matrix &m = d.shapes[role];
    const ResidentShare share = scratch.shares[role];
    if (share.count == 0) return;
    const int rowBytes = m.tilesPerRow * 128, bytes = share.count * rowBytes;
    const int first = share.first + (piece == up ? m.part[1].firstRow / tileRowCount : 0);
    uint64 *barrier = &scratch.arrived[role];
    if (piece != up) ptx::expectBytes(barrier, piece == gate ? 2 * bytes : bytes);
    ptx::copyBulk(memory + d.regions[role] + (piece == up ? bytes : 0),
                  (const char *)m.tiles + index * d.layerStride + (size_t)first * rowBytes, bytes, barrier);
  }

  /// Starts copies for which there is room again. Many at a time would delay the accesses that other blocks wait for, so
  /// each phase of a layer starts a part of them, when it has read its row.
  __device__ __forceinline__ void copyNext(int index, int role) {
    if (role == roleQueryKeyValue) {
      if (index > 0) copy(roleGateUp, up, index);
    } else if (role == roleAttentionOutput) {
      if (index > 0) copy(roleDown, whole, index);
    } else if (role == roleGateUp) {
      copy(roleQueryKeyValue, whole, index + 1);
      copy(roleAttentionOutput, whole, index + 1);
    } else {
      copy(roleGateUp, gate, index + 1);
    }
  }

  /// The destination of this thread's row of a product.
  struct Place {
    bool isUsed;
    float *out;
    float scale, upScale;
  };

  /// Row r of a block's share belongs to thread r; of gate and up, a thread has both rows that belong together.
  __device__ __forceinline__ Place placeOf(const Matrix &m, int index, int role) const {
    const ResidentShare share = scratch.shares[role];
    const int t = threadIdx.x, row = share.first * tileRowCount + t;
    Place place = {t < share.count * tileRowCount, nullptr, 0, 0};
    if (!place.isUsed) return place;
    if (role == roleGateUp) {
      place.isUsed = row < m.part[0].rows;
      place.out = gatedRow() + row;
      place.scale = m.part[0].scale;
      place.upScale = m.part[1].scale;
      return place;
    }
    int output;
    place.isUsed = findPart(m, row, output, place.scale);
    place.out = (role == roleQueryKeyValue ? d.qkv : role == roleDown ? afterDown(index) : afterOutput()) + output;
    return place;
  }

  /// A product phase: hand-over, norm and quantiser, the share's products. One body for all four matrices of a layer.
  __device__ __forceinline__ void multiply(int index, int role) {
    Marks marks = this->marks();
    const unsigned ticket = ptx::gridArriveRelaxed(d.barrier);
    marks.set(markArrived);
    const DecodeLayer &layer = scratch.layers[index % 2];
    const Matrix &m = layer.matrices[role];
    int8_t *codes = (int8_t *)(memory + sizeof(ResidentScratch));
    OneInput input;
    input.ask(layer.norms[role], m.columns);
    Place place = placeOf(m, index, role);
    // The next layer's entry of the table is loaded during this layer's last product.
    const bool fetches = role == roleDown && index + 1 < d.layerCount && threadIdx.x < layerWords;
    uint4 entry = make_uint4(0, 0, 0, 0);
    if (fetches) entry = ((const uint4 *)(d.layers + index + 1))[threadIdx.x];
    marks.set(markAsked);
    ptx::gridWaitRelaxed(d.barrier, ticket, handOver++, d.stalls);
    marks.set(markReleased);
    const HandedRow x = {role == roleQueryKeyValue     ? afterDown(index - 1)
                         : role == roleAttentionOutput ? heads()
                         : role == roleGateUp          ? afterOutput()
                                                       : gatedRow(),
                         role == roleQueryKeyValue && index == 0 ? embedding() : nullptr};
    if (fetches) ((uint4 *)&scratch.layers[(index + 1) % 2])[threadIdx.x] = entry;
    int sum;
    const float s = input.quantize(x, d.epsilon, codes, m.tilesPerRow * tileColumnCount, sum, scratch.row, marks,
                                   [&] { copyNext(index, role); });
    marks.set(markQuantized);
    // All blocks have read the row before this one's.
    if (role == roleQueryKeyValue && index > 0) clear(gatedRow(), d.shapes[roleDown].columns);
    if (role == roleGateUp) clear(heads(), d.shapes[roleAttentionOutput].columns);
    if (role == roleDown) clear(afterOutput(), d.hidden);
    if (place.isUsed) {
      place.scale = __fdiv_rn(place.scale, s);
      if (role == roleGateUp) place.upScale = __fdiv_rn(place.upScale, s);
    }
    run(index, role, m.tilesPerRow, codes);
    __syncthreads();
    deliver(role, sum, place);
    marks.set(markDone);
  }

  /// The products of a warp's share, added to the sums.
  __device__ __forceinline__ void run(int index, int role, int tilesPerRow, const int8_t *codes) const {
    const int lane = threadIdx.x % warpThreads;
    const ResidentRun run = scratch.runs[role][threadIdx.x / warpThreads];
    const int groups = (tilesPerRow + 3) / 4, wholeGroups = tilesPerRow / 4, rowBytes = tilesPerRow * 128;
    const unsigned char *tiles = memory + d.regions[role] + lane * 16;
    const int8_t *activations = codes + lane / 8 * tileColumnCount + lane / 2 % 2 * 16;
    int row = run.row, group = run.group, left = run.count;
    if (left > 0) ptx::waitBarrier(&scratch.arrived[role], index & 1);
#pragma unroll 1
    while (left > 0) {
      const int end = min(group + left, groups);
      left -= end - group;
      int acc[4][4] = {};
      const uint4 *word = (const uint4 *)(tiles + row * rowBytes) + group * 32;
      const int4 *a = (const int4 *)activations + group * 8;
      const int whole = min(end, wholeGroups) - group;
#pragma unroll 4
      for (int i = 0; i < whole; i++) multiplyWord(acc, word[i * 32], a[i * 8]);
      // A group at the end of the row that lacks tiles.
      if (end > wholeGroups && 4 * wholeGroups + lane / 8 < tilesPerRow)
        multiplyWord(acc, word[(end - 1 - group) * 32], a[(end - 1 - group) * 8]);
      addLanes(acc, scratch.sums + row * tileRowCount);
      row++;
      group = 0;
    }
  }

  /// Stores the thread's row, and clears its sum.
  __device__ __forceinline__ void deliver(int role, int sum, const Place &place) {
    const int rows = scratch.shares[role].count * tileRowCount;
    if ((int)threadIdx.x >= rows) return;
    int *own = scratch.sums + threadIdx.x;
    float y = __fmul_rn((float)(*own - 2 * sum), place.scale);
    *own = 0;
    if (role == roleGateUp) {
      // Up rows follow the gate rows.
      y = gated(d.isSquaredReLU, y, __fmul_rn((float)(own[rows] - 2 * sum), place.upScale));
      own[rows] = 0;
    } else if (role != roleQueryKeyValue) {
      y = residual = __fadd_rn(residual, y);
    }
    if (place.isUsed) ptx::storeRelaxed(place.out, y);
  }

  __device__ __forceinline__ void run() {
    start();
#pragma unroll 1
    for (int index = 0; index < d.layerCount; index++)
#pragma unroll 1
      for (int role = roleQueryKeyValue; role < roleCount; role++) {
        if (role == roleAttentionOutput) {
          attend(index, *(ShortScratch *)(memory + sizeof(ResidentScratch)));
          // In attention all blocks have read the row of the layer before.
          if (index > 0) clear(afterDown(index - 1), d.hidden);
        }
        multiply(index, role);
      }
  }
};
