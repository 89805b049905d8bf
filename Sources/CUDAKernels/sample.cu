// Chooses tokens from logits: the same ids as Sources/Inference/Sampler.swift, whose arithmetic is integers and
// canonical.
//
// Shapes: logits [outputs][vocabulary]; best [outputs], the largest logitKey of each row.
// Bytes: one pass over the logits; then passes over the candidates, the tokens whose weight is not zero.
// Bound by: latency. Greedy rows read eight bytes.
// Launch: 1024 threads; one block an output; shared memory sizeof(SampleScratch). adjust_rows, before it, reads and
// writes the logits of outputs with a mask, biases or a repetition penalty.
#include "head.cuh"

constexpr int sampleThreads = 1024, sampleWarps = sampleThreads / warpThreads, digits = 256;

struct alignas(16) SampleScratch {
  uint64 weights[digits];
  unsigned counts[digits];
  uint64 warpWeights[sampleWarps];
  uint64 warpKeys[sampleWarps];
  unsigned warpCounts[sampleWarps];
  uint64 key, wanted;
  int chosen;
};
static_assert(sizeof(SampleScratch) == sampleScratchBytes);

/// trunc(e^(logit - largest) · 2^40).
__device__ __forceinline__ uint64 weightBelow(float logit, float largest) {
  const float value = exponential(__fsub_rn(logit, largest));
  return value > 0 ? (uint64)__fmul_rn(value, 0x1p40f) : 0;
}

/// Philox 4x32-10: the first two words for a counter and a key.
__device__ __forceinline__ uint64 random64(uint64 key, uint64 counter) {
  unsigned c0 = (unsigned)counter, c1 = (unsigned)(counter >> 32), c2 = 0, c3 = 0, k0 = (unsigned)key,
           k1 = (unsigned)(key >> 32);
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned aHigh = __umulhi(0xD2511F53u, c0), aLow = 0xD2511F53u * c0, bHigh = __umulhi(0xCD9E8D57u, c2),
                   bLow = 0xCD9E8D57u * c2;
    c0 = bHigh ^ c1 ^ k0;
    c1 = bLow;
    c2 = aHigh ^ c3 ^ k1;
    c3 = aLow;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return (uint64)c1 << 32 | c0;
}

/// Sum over the block, the same in every thread. Barriers before and after.
__device__ __forceinline__ uint64 blockSum(uint64 v, SampleScratch &scratch) {
#pragma unroll
  for (int half = 16; half > 0; half /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, half);
  __syncthreads();
  if (threadIdx.x % warpThreads == 0) scratch.warpWeights[threadIdx.x / warpThreads] = v;
  __syncthreads();
  uint64 sum = 0;
  for (int w = 0; w < sampleWarps; w++) sum += scratch.warpWeights[w];
  return sum;
}

/// Largest value over the block, the same in every thread. Barriers before and after.
__device__ __forceinline__ uint64 blockMax(uint64 v, SampleScratch &scratch) {
#pragma unroll
  for (int half = 16; half > 0; half /= 2) {
    const uint64 other = __shfl_xor_sync(0xFFFFFFFFu, v, half);
    v = other > v ? other : v;
  }
  __syncthreads();
  if (threadIdx.x % warpThreads == 0) scratch.warpKeys[threadIdx.x / warpThreads] = v;
  __syncthreads();
  uint64 most = 0;
  for (int w = 0; w < sampleWarps; w++) most = scratch.warpKeys[w] > most ? scratch.warpKeys[w] : most;
  return most;
}

/// The key at which a walk through the candidates in descending order has counted `wanted` of them (`byCount`), or
/// gathered that weight: found digit by digit from the top. The candidates suffice for that.
__device__ __forceinline__ uint64 keyAt(bool byCount, uint64 wanted, const uint64 *keys, const uint64 *weights,
                                        int candidates, SampleScratch &scratch) {
  uint64 prefix = 0;
  for (int shift = 56; shift >= 0; shift -= 8) {
    __syncthreads();
    if (threadIdx.x < digits) {
      scratch.counts[threadIdx.x] = 0;
      scratch.weights[threadIdx.x] = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < candidates; i += sampleThreads) {
      const uint64 key = keys[i];
      if (shift < 56 && (key ^ prefix) >> (shift + 8)) continue;
      const int digit = (int)(key >> shift & 255);
      if (byCount)
        atomicAdd(&scratch.counts[digit], 1u);
      else
        atomicAdd(&scratch.weights[digit], weights[i]);
    }
    __syncthreads();
    if (threadIdx.x < warpThreads) {
      // A lane has eight digits, the first lane the highest.
      constexpr int perLane = digits / warpThreads;
      const int lane = threadIdx.x, top = digits - 1 - perLane * lane;
      uint64 own = 0;
#pragma unroll 2
      for (int d = 0; d < perLane; d++) own += byCount ? scratch.counts[top - d] : scratch.weights[top - d];
      uint64 through = own;
#pragma unroll
      for (int step = 1; step < warpThreads; step *= 2) {
        const uint64 other = __shfl_up_sync(0xFFFFFFFFu, through, step);
        if (lane >= step) through += other;
      }
      const unsigned reached = __ballot_sync(0xFFFFFFFFu, through >= wanted);
      if (lane == (reached ? __ffs(reached) - 1 : warpThreads - 1)) {
        uint64 left = wanted - (through - own);
        int digit = top;
        for (; digit > top - perLane + 1; digit--) {
          const uint64 at = byCount ? scratch.counts[digit] : scratch.weights[digit];
          if (at >= left) break;
          left -= at;
        }
        scratch.key = prefix | (uint64)digit << shift;
        scratch.wanted = left;
      }
    }
    __syncthreads();
    prefix = scratch.key;
    wanted = scratch.wanted;
  }
  return prefix;
}

/// What the output's logits that were not computed can weigh: 0 if they cannot matter.
__device__ __forceinline__ uint64 unseenWeight(const ScreenCuts &cuts) {
  return cuts.cuts && !cuts.attempt ? cuts.cuts[blockIdx.x].unseen : 0;
}

/// Draws one of the tokens that the filters keep; -1 if that depends on logits that were not computed.
__device__ __forceinline__ int draw(const float *logits, int vocabulary, const RowSampling &sampling, uint64 best,
                                    uint64 position, const ScreenCuts &cuts, uint64 *keys, uint64 *weights,
                                    SampleScratch &scratch) {
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  const float temperature = sampling.temperature;
  const float largest = __fdiv_rn(logitOfKey(best), temperature);
  if (!(fabsf(largest) < __int_as_float(0x7F800000))) {
    if (unseenWeight(cuts)) return -1;
    // Nothing to weigh: the smallest id with the largest quotient.
    uint64 own = 0;
    for (int id = threadIdx.x; id < vocabulary; id += sampleThreads) {
      const uint64 key = logitKey(__fdiv_rn(logits[id], temperature), id);
      own = key > own ? key : own;
    }
    return idOfKey(blockMax(own, scratch));
  }

  // The candidates, in ascending id. A warp counts those of its share of the vocabulary, then stores them behind those
  // of the warps before it, so that the block waits once and not for every thousand tokens.
  const int share = (vocabulary + sampleThreads - 1) / sampleThreads * warpThreads, first = warp * share,
            last = min(vocabulary, first + share);
  int candidates = 0, place = 0;
#pragma unroll 8
  for (int base = first; base < last; base += warpThreads) {
    const int id = base + lane;
    const bool present =
        id < last && weightBelow(__fdiv_rn(logits[min(id, last - 1)], temperature), largest) != 0;
    place += __popc(__ballot_sync(0xFFFFFFFFu, present));
  }
  if (lane == 0) scratch.warpCounts[warp] = place;
  __syncthreads();
  place = 0;
#pragma unroll 4
  for (int w = 0; w < sampleWarps; w++) {
    const int count = scratch.warpCounts[w];
    if (w < warp) place += count;
    candidates += count;
  }
  uint64 own = 0;
#pragma unroll 4
  for (int base = first; base < last; base += warpThreads) {
    const int id = base + lane;
    const float logit = __fdiv_rn(logits[min(id, last - 1)], temperature);
    const uint64 weight = id < last ? weightBelow(logit, largest) : 0;
    const unsigned present = __ballot_sync(0xFFFFFFFFu, weight != 0);
    if (weight) {
      const int to = place + __popc(present & ((1u << lane) - 1));
      keys[to] = logitKey(logit, id);
      weights[to] = weight;
      own += weight;
    }
    place += __popc(present);
  }
  uint64 total = blockSum(own, scratch);

  // Filters keep the keys from `least` on.
  uint64 least = 0;
  if (sampling.topK > 0 && sampling.topK < candidates) {
    least = keyAt(true, sampling.topK, keys, weights, candidates, scratch);
    own = 0;
    for (int i = threadIdx.x; i < candidates; i += sampleThreads) own += keys[i] >= least ? weights[i] : 0;
    total = blockSum(own, scratch);
  }
  if (sampling.topP < 1) {
    // With all the weight that other tokens can have.
    const uint64 unseen = unseenWeight(cuts);
    const uint64 goal = (uint64)ceil((double)sampling.topP * (double)(total + unseen));
    if (unseen && goal > total) return -1;
    if (unseen || goal < total) {
      const uint64 key = keyAt(false, goal, keys, weights, candidates, scratch);
      least = key > least ? key : least;
    }
    if (unseen) {
      // Without any, the last kept token must be the same.
      own = 0;
      for (int i = threadIdx.x; i < candidates; i += sampleThreads) own += keys[i] > least ? weights[i] : 0;
      const uint64 before = blockSum(own, scratch), fewest = (uint64)ceil((double)sampling.topP * (double)total);
      const float below = __fdiv_rn(cuts.cuts[blockIdx.x].thresholds[0], temperature);
      if (before >= fewest || !(logitOfKey(least) > below)) return -1;
    }
  }
  if (sampling.leastWeight > 1) {
    own = 0;
    for (int i = threadIdx.x; i < candidates; i += sampleThreads)
      if (weights[i] < sampling.leastWeight && keys[i] > own) own = keys[i];
    const uint64 tooLight = blockMax(own, scratch);
    least = tooLight + 1 > least ? tooLight + 1 : least;
  }
  own = 0;
  for (int i = threadIdx.x; i < candidates; i += sampleThreads) own += keys[i] >= least ? weights[i] : 0;
  total = blockSum(own, scratch);

  // The kept token, in ascending id, at which the running sum exceeds a random fraction of the total.
  const uint64 target = __umul64hi(random64(sampling.seed, position), total);
  uint64 before = 0;
  if (threadIdx.x == 0) scratch.chosen = idOfKey(best);
  for (int base = 0; base < candidates; base += sampleThreads) {
    const int i = base + threadIdx.x;
    const uint64 weight = i < candidates && keys[i] >= least ? weights[i] : 0;
    uint64 running = weight;
#pragma unroll
    for (int step = 1; step < warpThreads; step *= 2) {
      const uint64 other = __shfl_up_sync(0xFFFFFFFFu, running, step);
      if (lane >= step) running += other;
    }
    __syncthreads();
    if (lane == warpThreads - 1) scratch.warpWeights[warp] = running;
    __syncthreads();
    uint64 start = before;
    for (int w = 0; w < sampleWarps; w++) {
      if (w < warp) start += scratch.warpWeights[w];
      before += scratch.warpWeights[w];
    }
    if (weight && start + running > target && start + running - weight <= target) scratch.chosen = idOfKey(keys[i]);
    if (before > target) break;
  }
  __syncthreads();
  return scratch.chosen;
}

/// Chooses the token of an output and sends it to the host.
extern "C" __global__ void __launch_bounds__(1024, 1)
sample_rows(const SampleParameters p) {
  DYNAMIC_SHARED(shared);
  const int output = blockIdx.x, row = p.rows[output];
  const ScreenCuts &cuts = p.cuts;
  if (cuts.attempt && !cuts.retries[output]) return;
  // Most of it is read when it is needed: registers are scarce.
  const RowSampling &how = p.sampling[output];
  const uint64 key = p.best[output];
  const int position = p.positions[row] + 1;
  int token = idOfKey(key);
  if (how.temperature > 0)
    token = draw(p.logits + (size_t)output * p.vocabulary, p.vocabulary, how, key, position, cuts,
                 p.candidates.keys + (size_t)output * p.vocabulary,
                 p.candidates.weights + (size_t)output * p.vocabulary, *(SampleScratch *)shared);
  __syncthreads();  // all threads have read position and best
  if (threadIdx.x == 0 && cuts.cuts) cuts.retries[output] = token < 0;
  if (threadIdx.x == 0 && token >= 0) {
    p.tokens[row] = token;
    p.positions[row] = position;
    p.best[output] = 0;
    const Delivery &delivery = p.delivery;
    const unsigned round = delivery.rounds[output] + 1;
    delivery.rounds[output] = round;
    ptx::storeReleaseSystem(delivery.messages + (size_t)(round % delivery.messageRounds) * delivery.outputs + output,
                            (uint64)round << 32 | (unsigned)token);
  }
}

/// Adds biases to an output's logits, applies the repetition penalty, and excludes the tokens that its mask does not
/// allow, before sample_rows. Without an adjustment, nothing of the output changes.
extern "C" __global__ void __launch_bounds__(1024, 1)
adjust_rows(const AdjustParameters p) {
  DYNAMIC_SHARED(shared);
  const OutputAdjustment how = p.adjustments[blockIdx.x];
  if (!how.isAdjusted) return;
  float *logits = p.logits + (size_t)blockIdx.x * p.vocabulary;
  for (int i = threadIdx.x; i < how.biasCount; i += sampleThreads) {
    const Bias bias = how.biases[i];
    logits[bias.token] = __fadd_rn(logits[bias.token], bias.value);
  }
  __syncthreads();
  for (int i = threadIdx.x; i < how.penalizedCount; i += sampleThreads) {
    float &logit = logits[how.penalized[i]];
    logit = logit > 0 ? __fdiv_rn(logit, how.penalty) : __fmul_rn(logit, how.penalty);
  }
  __syncthreads();
  uint64 own = 0;
  for (int id = threadIdx.x; id < p.vocabulary; id += sampleThreads) {
    if (how.mask && !(how.mask[id / 32] >> id % 32 & 1u)) {
      logits[id] = -__int_as_float(0x7F800000);
    } else {
      const uint64 key = logitKey(logits[id], id);
      own = key > own ? key : own;
    }
  }
  SampleScratch &scratch = *(SampleScratch *)shared;
  const uint64 key = blockMax(own, scratch);
  if (threadIdx.x == 0) p.best[blockIdx.x] = key;
  // If all allowed tokens are at minus infinity, perhaps only after the division by the temperature, the first of them
  // must win over the excluded ones.
  const float largest = logitOfKey(key), temperature = p.sampling[blockIdx.x].temperature;
  if ((temperature > 0 ? __fdiv_rn(largest, temperature) : largest) != -__int_as_float(0x7F800000)) return;
  own = 0;
  for (int id = threadIdx.x; id < p.vocabulary; id += sampleThreads)
    if (!how.mask || (how.mask[id / 32] >> id % 32 & 1u)) {
      const uint64 first = logitKey(0, id);
      own = first > own ? first : own;
    }
  const uint64 first = blockMax(own, scratch);
  if (threadIdx.x == 0) logits[idOfKey(first)] = 0;
}

/// Describes the tokens that sample_rows has chosen from unchanged logits. A pass over the logits for the largest, one
/// for the weights, and one for each alternative after the first.
extern "C" __global__ void __launch_bounds__(1024, 1)
describe_rows(const DescribeParameters p) {
  DYNAMIC_SHARED(shared);
  SampleScratch &scratch = *(SampleScratch *)shared;
  const float *logits = p.logits + (size_t)blockIdx.x * p.vocabulary;
  TokenDescription &description = p.descriptions[blockIdx.x];
  uint64 before = ~0ull, first = 0;
  for (int place = 0; place < mostAlternatives; place++) {
    uint64 own = 0;
    if (place == 0 || place < p.alternatives)
      for (int id = threadIdx.x; id < p.vocabulary; id += sampleThreads) {
        const float logit = logits[id];
        const uint64 key = logit == logit ? logitKey(logit, id) : 0;
        own = key < before && key > own ? key : own;
      }
    before = blockMax(own, scratch);
    if (place == 0) first = before;
    if (threadIdx.x == 0) description.top[place] = before;
  }
  const float largest = first ? logitOfKey(first) : -__int_as_float(0x7F800000);
  uint64 own = 0;
  for (int id = threadIdx.x; id < p.vocabulary; id += sampleThreads) own += weightBelow(logits[id], largest);
  const uint64 total = blockSum(own, scratch);
  if (threadIdx.x == 0) {
    description.total = total;
    description.logit = logits[p.tokens[p.rows[blockIdx.x]]];
    description.unused = 0;
  }
}
