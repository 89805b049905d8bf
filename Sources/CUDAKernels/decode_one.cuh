// The decode step of one sequence: blocks of 512 threads, one on each multiprocessor.
#pragma once
#include "attention_short.cuh"
#include "quantize.cuh"
#include "tape.cuh"

/// Shared memory of a block: this, then the tape's ring, [depth][512] words of 16 bytes, then a phase's own memory:
/// ShortScratch, or the row's codes.
struct alignas(16) OneScratch {
  float lanes[blockThreads];
  unsigned absmax[tapeWarps];
  int sums[tapeWarps];
  // Each warp's part of a tile row's sums; two sets, so that one can be read while the next is written.
  int partial[2][tapeWarps][tileRowCount];
  DecodeLayer layers[2];
};
static_assert(sizeof(OneScratch) == oneScratchBytes);

/// The quantiser's scale from each thread's largest magnitude. Contains a barrier.
__device__ __forceinline__ float oneScale(float absmax, OneScratch &scratch) {
  const int lane = threadIdx.x % warpThreads;
  const unsigned most = ptx::reduceMax(__float_as_uint(absmax));
  if (lane == 0) scratch.absmax[threadIdx.x / warpThreads] = most;
  __syncthreads();
  // Every warp combines the sixteen maxima itself.
  return quantizerScale(__uint_as_float(ptx::reduceMax(scratch.absmax[lane % tapeWarps])));
}

/// The sum over the block, the same in every thread. Contains a barrier, after which codes that were stored before can
/// be read.
__device__ __forceinline__ int oneSum(int own, OneScratch &scratch) {
  const int lane = threadIdx.x % warpThreads;
  own = ptx::reduceAdd(own);
  if (lane == 0) scratch.sums[threadIdx.x / warpThreads] = own;
  __syncthreads();
  return ptx::reduceAdd(lane < tapeWarps ? scratch.sums[lane] : 0);
}

/// A row's elements by threads: thread t holds those of lane t % 256 of the canonical sum, the first half of them for t
/// < 256, the others for t ≥ 256. `half` (at most `most`) elements each, so rows of up to 512·half. The norm's weights
/// are loaded first: they do not depend on the step.
template <int most> struct OneRow {
  float weight[most];
  int first;  // the thread's first element

  template <int half> __device__ __forceinline__ void loadNorm(const float *norm, int n) {
    first = (int)threadIdx.x % blockThreads + (threadIdx.x < blockThreads ? 0 : half * blockThreads);
#pragma unroll
    for (int k = 0; k < half; k++)
      weight[k] = norm && k * blockThreads < n - first ? norm[first + k * blockThreads] : 1.0f;
  }

  /// Norm and quantiser. Returns the scale and, in sum, Σ codes; ends with a barrier, after which the codes can be
  /// read.
  template <int half>
  __device__ __forceinline__ float quantize(const float *x, bool hasNorm, float epsilon, int n, int8_t *codes,
                                            int padded, int &sum, OneScratch &scratch, Marks &marks) {
    float v[half];
    const int left = n - first;
#pragma unroll
    for (int k = 0; k < half; k++) v[k] = k * blockThreads < left ? x[first + k * blockThreads] : 0.0f;
    if (hasNorm) {
      if (threadIdx.x < blockThreads) {
        // The other half of the lane's elements too: the sum is one chain.
        float rest[half];
#pragma unroll
        for (int k = 0; k < half; k++)
          rest[k] = (half + k) * blockThreads < left ? x[first + (half + k) * blockThreads] : 0.0f;
        float squares = 0;  // zeros beyond the row leave it as it is
#pragma unroll
        for (int k = 0; k < half; k++) squares = __fmaf_rn(v[k], v[k], squares);
#pragma unroll
        for (int k = 0; k < half; k++) squares = __fmaf_rn(rest[k], rest[k], squares);
        scratch.lanes[threadIdx.x] = squares;
      }
      __syncthreads();
      const float r = normalizerOf(scratch.lanes, epsilon, n);
      marks.set(markRead);
#pragma unroll
      for (int k = 0; k < half; k++) v[k] = k * blockThreads < left ? __fmul_rn(__fmul_rn(v[k], r), weight[k]) : 0.0f;
    }
    float absmax = 0;
#pragma unroll
    for (int k = 0; k < half; k++) absmax = larger(absmax, fabsf(v[k]));
    const float scale = oneScale(absmax, scratch);
    int8_t *own = codes + first;
    int total = 0;
#pragma unroll
    for (int k = 0; k < half; k++) {
      const int code = quantized(v[k], scale);
      if (k * blockThreads < padded - first) own[k * blockThreads] = (int8_t)code;
      total += code;
    }
    sum = oneSum(total, scratch);
    return scale;
  }
};

/// The same for rows that are too long for registers: read three times, with the norm's weights from memory.
__device__ __forceinline__ float quantizeLong(const float *x, const float *norm, float epsilon, int n, int8_t *codes,
                                              int padded, int &sum, OneScratch &scratch) {
  float r = 0;
  if (norm) {
    if (threadIdx.x < blockThreads) {
      float squares = 0;
      for (int i = threadIdx.x; i < n; i += blockThreads) squares = __fmaf_rn(x[i], x[i], squares);
      scratch.lanes[threadIdx.x] = squares;
    }
    __syncthreads();
    r = normalizerOf(scratch.lanes, epsilon, n);
  }
  float absmax = 0;
  for (int i = threadIdx.x; i < n; i += tapeThreads) absmax = larger(absmax, fabsf(normalized(x, norm, r, i)));
  const float scale = oneScale(absmax, scratch);
  int total = 0;
  for (int i = threadIdx.x; i < padded; i += tapeThreads) {
    const int code = i < n ? quantized(normalized(x, norm, r, i), scale) : 0;
    codes[i] = (int8_t)code;
    total += code;
  }
  sum = oneSum(total, scratch);
  return scale;
}

/// A block of the step.
template <int depth> struct OneStep {
  const DecodeModel &d;
  const DecodeSequences &sequences;
  OneScratch &scratch;
  unsigned char *const shared;  // a phase's own memory
  Tape<depth> tape;
  int handOver = 0, position, slot;

  __device__ __forceinline__ OneStep(const DecodeParameters &p, unsigned char *memory)
      : d(p.model), sequences(*p.sequences), scratch(*(OneScratch *)memory),
        shared(memory + sizeof(OneScratch) + depth * tapeThreads * sizeof(uint4)),
        tape(p.model, (uint4 *)(memory + sizeof(OneScratch))), position(p.sequences->positions[0]),
        slot(p.sequences->slots[0]) {}

  __device__ __forceinline__ Marks marks() const {
#ifdef DECODE_TRACE
    return Marks{d.trace + ((size_t)handOver * gridDim.x + blockIdx.x) * traceMarks};
#else
    return Marks{};
#endif
  }
  __device__ __forceinline__ unsigned arrive() const { return ptx::gridArrive(d.barrier); }
  __device__ __forceinline__ void wait(unsigned ticket) { ptx::gridWait(d.barrier, ticket, handOver++, d.stalls); }

  /// A product phase: hand-over, norm and quantiser, the share's products. One body for all four matrices of a layer.
  __device__ __forceinline__ void multiply(int index, int role) {
    Marks marks = this->marks();
    const unsigned ticket = arrive();
    marks.set(markArrived);
    const DecodeLayer &layer = scratch.layers[index % 2];
    const Matrix &m = layer.matrices[role];
    const float *norm = layer.norms[role], *x = readsInner(role) ? d.inner : d.x;
    const int columns = m.columns, padded = m.tilesPerRow * tileColumnCount;
    int8_t *codes = (int8_t *)shared;
    // 2,560 and 6,912 columns are those of BitNet b1.58 2B-4T.
    OneRow<14> row;
    const bool isShort = columns <= 5 * tapeThreads, isLong = columns > 14 * tapeThreads;
    if (isShort)
      row.loadNorm<5>(norm, columns);
    else if (!isLong)
      row.loadNorm<14>(norm, columns);
    // The next layer's entry of the table is loaded during this layer's last product.
    const bool fetches = role == roleDown && index + 1 < d.layerCount && threadIdx.x < layerWords;
    uint4 entry = make_uint4(0, 0, 0, 0);
    if (fetches) entry = ((const uint4 *)(d.layers + index + 1))[threadIdx.x];
    marks.set(markAsked);
    wait(ticket);
    marks.set(markReleased);
    if (fetches) ((uint4 *)&scratch.layers[(index + 1) % 2])[threadIdx.x] = entry;
    int sum;
    const float s = isShort ? row.quantize<5>(x, norm, d.epsilon, columns, codes, padded, sum, scratch, marks)
                    : isLong ? quantizeLong(x, norm, d.epsilon, columns, codes, padded, sum, scratch)
                             : row.quantize<14>(x, norm, d.epsilon, columns, codes, padded, sum, scratch, marks);
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

  /// Attention of a layer: the chunks of the heads, dealt out to the blocks in turn. The keys and values of a block's
  /// first chunk, except those of this step, are loaded while the block waits for the queries.
  __device__ __forceinline__ void attend(int index) {
    Marks marks = this->marks();
    const unsigned ticket = arrive();
    marks.set(markArrived);
    const int heads = d.attention.heads.keyValueHeads, items = (position / chunkLength + 1) * heads;
    int item = blockIdx.x;
    if (item >= items) {
      marks.set(markAsked);
      wait(ticket);
      marks.set(markReleased);
    } else {
      ChunkPart part(d.attention, index, slot, item % heads, item / heads, position);
      ChunkLoads<tapeThreads> loads(d.attention, part);
      marks.set(markAsked);
      wait(ticket);
      marks.set(markReleased);
#pragma unroll 1
      for (;;) {
        attendShort<tapeThreads>(d.attention, 0, 0, part, loads, *(ShortScratch *)shared);
        item += gridDim.x;
        if (item >= items) break;
        part = ChunkPart(d.attention, index, slot, item % heads, item / heads, position);
        loads = ChunkLoads<tapeThreads>(d.attention, part);
      }
    }
    marks.set(markDone);
  }

  __device__ __forceinline__ void run() {
    if (threadIdx.x < layerWords) ((uint4 *)&scratch.layers[0])[threadIdx.x] = ((const uint4 *)d.layers)[threadIdx.x];
    const int hidden = d.hidden;
    for (int i = blockIdx.x * tapeThreads + threadIdx.x; i < hidden; i += gridDim.x * tapeThreads)
      d.x[i] = fromBFloat16(d.embedding[(size_t)sequences.tokens[0] * hidden + i]);
    // The first hand-over begins with a barrier of the block, after which all of this has arrived.
#pragma unroll 1
    for (int index = 0; index < d.layerCount; index++)
#pragma unroll 1
      for (int role = roleQueryKeyValue; role < roleCount; role++) {
        if (role == roleAttentionOutput) attend(index);
        multiply(index, role);
      }
  }
};
