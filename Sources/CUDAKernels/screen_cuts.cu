// Which rows of the screened head are computed for an output that top-k or top-p draws.
//
// With top-k, as many blocks of the screen as have a larger lower bound show that the k-th logit is that large. With
// top-p, rows below a cut are left out although they have a weight: their bounds say how much at most, and the sampler
// knows whether that can matter (Documentation/numerics.md has the proof).
//
// Bytes: 4·vocabulary of bounds for an output with top-p. Bound by: latency.
#include "screen.cuh"

struct alignas(16) CutScratch {
  uint64 keys[mostScreenBlocks];
  float below[blockWarps][triedCuts];
  unsigned above[blockWarps][triedCuts];
  unsigned arrived;
};
static_assert(sizeof(CutScratch) == cutScratchBytes);

/// How far below the largest logit rows are cut, in units of the temperature: their weights there are a 55th to a
/// nine-millionth of the largest.
__device__ __forceinline__ float cutDepth(int c) {
  constexpr float depths[triedCuts - 1] = {4, 5.5f, 7, 8.5f, 10.5f, 13, 16};
  return depths[c];
}

/// The bounds that the cuts of an output start from.
struct CutBounds {
  float largest;    // at most the largest logit
  float threshold;  // rows below it cannot matter
  __device__ __forceinline__ CutBounds(float most, float least) {
    // Room for the roundings of the division by the temperature and of the difference to the largest.
    const float room = __fmul_rn(1e-5f, larger(fabsf(most), fabsf(least)));
    largest = __fsub_rn(most, room);
    threshold = __fsub_rn(least, room);
  }
  __device__ __forceinline__ float cut(int c, float temperature) const {
    return c == triedCuts - 1 ? threshold
                              : larger(__fsub_rn(largest, __fmul_rn(cutDepth(c), temperature)), threshold);
  }
};

/// The k-th largest of the lower bounds of blocks, in every thread; k is at most their number.
__device__ __forceinline__ float largestFloor(int k, const uint64 *floors, int count, CutScratch &scratch) {
  for (int i = threadIdx.x; i < count; i += blockThreads) scratch.keys[i] = floors[i];
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += blockThreads) {
    const uint64 key = scratch.keys[i];
    int before = 0;
#pragma unroll 8
    for (int other = 0; other < count; other++)
      before += scratch.keys[other] > key || (scratch.keys[other] == key && other < i);
    if (before == k - 1) scratch.below[0][0] = logitOfKey(key);
  }
  __syncthreads();
  return scratch.below[0][0];
}

/// Weighs the bounds of the block's share of the rows, and adds up the shares in the last block of the output to
/// arrive; returns whether this is the block.
__device__ __forceinline__ bool weighRows(const ScreenCutsParameters &p, int output, const CutBounds &bounds,
                                          float temperature, CutScratch &scratch) {
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  const float *upper = p.upper + (size_t)output * p.vocabulary;
  const float inverse = __fdiv_rn(1.0f, temperature);
  float below[triedCuts] = {};
  int above[triedCuts] = {};
#pragma unroll 4
  for (int id = blockIdx.x * blockThreads + threadIdx.x; id < p.vocabulary; id += cutBlocks * blockThreads) {
    const float bound = upper[id];
    const float weight = exponential(__fmul_rn(__fsub_rn(bound, bounds.largest), inverse));
#pragma unroll
    for (int c = 0; c < triedCuts; c++) {
      const bool isBelow = bound < bounds.cut(c, temperature);
      below[c] = __fadd_rn(below[c], isBelow ? weight : 0.0f);
      above[c] += !isBelow;
    }
  }
#pragma unroll
  for (int c = 0; c < triedCuts; c++) {
    const float weight = fold32(below[c]);
    const int rows = ptx::reduceAdd(above[c]);
    if (lane == 0) {
      scratch.below[warp][c] = weight;
      scratch.above[warp][c] = (unsigned)rows;
    }
  }
  __syncthreads();
  const size_t first = (size_t)output * cutBlocks * triedCuts;
  if (threadIdx.x < triedCuts) {
    float weight = 0;
    unsigned rows = 0;
    for (int w = 0; w < blockWarps; w++) {
      weight = __fadd_rn(weight, scratch.below[w][threadIdx.x]);
      rows += scratch.above[w][threadIdx.x];
    }
    p.below[first + blockIdx.x * triedCuts + threadIdx.x] = weight;
    p.above[first + blockIdx.x * triedCuts + threadIdx.x] = rows;
  }
  __syncthreads();  // orders the block's writes before this thread's release
  if (threadIdx.x == 0) scratch.arrived = ptx::addRelease(p.arrivals + output, 1);
  __syncthreads();
  if (scratch.arrived != cutBlocks - 1) return false;
  // Warp c adds up the c-th cut.
  static_assert(cutBlocks == warpThreads && triedCuts == blockWarps);
  const size_t place = first + lane * triedCuts + warp;
  const float weight = fold32(ptx::loadCoherent(p.below + place));
  const int rows = ptx::reduceAdd((int)ptx::loadCoherent(p.above + place));
  if (lane == 0) {
    scratch.below[0][warp] = weight;
    scratch.above[0][warp] = (unsigned)rows;
  }
  if (threadIdx.x == 0) p.arrivals[output] = 0;
  __syncthreads();
  return true;
}

/// The cut with the least expected work.
__device__ __forceinline__ ScreenCut chooseCut(const CutBounds &bounds, const RowSampling &how,
                                               const CutScratch &scratch) {
  // A second attempt takes as long as so many rows, even if it computes few.
  constexpr float again = 4096;
  const float *weights = scratch.below[0];
  const unsigned *rows = scratch.above[0];
  ScreenCut chosen{{bounds.threshold, bounds.threshold}, 0};
  // The weight of the last token that top-p keeps, by estimate: what is below it weighs as much as top-p leaves out.
  // Rows above the first cut are taken to lie half as deep.
  const float half = exponential(-cutDepth(0) / 2);
  const float left = (1 - how.topP) * (weights[0] + larger(1, (float)rows[0] * half));
  float last = half;
  bool isFound = false;
#pragma unroll
  for (int c = 0; c < triedCuts - 1; c++) {
    isFound = isFound || weights[c] < left;
    if (!isFound) last = exponential(-cutDepth(c));
  }
  float least = (float)rows[triedCuts - 1];
#pragma unroll
  for (int c = 0; c < triedCuts - 1; c++) {
    // An attempt fails if the unseen rows weigh enough to move the end of top-p over a token.
    const float share = weights[c] / last;
    const float work = (float)rows[c] + (share < 1 ? share : 1) * ((float)(rows[triedCuts - 1] - rows[c]) + again);
    if (!(weights[c] < 1) || !(work < least)) continue;
    least = work;
    chosen.thresholds[0] = bounds.cut(c, how.temperature);
    // Above the roundings of these weights and of the sampler's.
    chosen.unseen = (uint64)((weights[c] * 1.01f + 1e-6f) * 0x1p40f);
  }
  return chosen;
}

/// Launch: 256 threads; grid (cutBlocks, outputs); shared memory cutScratchBytes.
extern "C" __global__ void __launch_bounds__(256)
screen_cuts(const ScreenCutsParameters p) {
  DYNAMIC_SHARED(shared);
  CutScratch &scratch = *(CutScratch *)shared;
  const int output = blockIdx.y;
  const RowSampling how = p.sampling[output];
  const float most = logitOfKey(p.floors[output]), edge = windowEdge(most, p.windows[output]);
  const bool draws = how.temperature > 0, isFinite = fabsf(most) < __int_as_float(0x7F800000);
  if (draws && isFinite && how.topK == 0 && how.topP < 1) {
    const CutBounds bounds(most, edge);
    if (!weighRows(p, output, bounds, how.temperature, scratch)) return;
    if (threadIdx.x == 0) p.cuts[output] = chooseCut(bounds, how, scratch);
    return;
  }
  if (blockIdx.x > 0) return;
  float least = edge;
  if (draws && isFinite && how.topK > 0 && how.topK <= p.screenBlocks)
    least = larger(least, largestFloor(how.topK, p.blockFloors + (size_t)output * mostScreenBlocks, p.screenBlocks,
                                       scratch));
  if (threadIdx.x == 0) {
    const float threshold = isFinite ? CutBounds(most, least).threshold : edge;
    p.cuts[output] = ScreenCut{{threshold, threshold}, 0};
  }
}
