// The screened head, in two launches: estimates and bounds of all logits, then the logits that can matter, exactly.
//
// Bytes: vocabulary·hidden of int8 codes from memory for each group of tokens, then 2·hidden for each row that
// survives. Bound by: memory; two dp4a for each four weights and token.
#include "screen.cuh"

/// Makes the int8 copy: one warp a row. Launch: 256 threads, any number of blocks.
extern "C" __global__ void __launch_bounds__(256)
screen_build(const ScreenBuildParameters p) {
  const Head &head = p.head;
  const int lane = threadIdx.x % warpThreads;
  for (int id = blockIdx.x * blockWarps + threadIdx.x / warpThreads; id < head.vocabulary;
       id += gridDim.x * blockWarps) {
    const uint16_t *row = head.table + (size_t)id * head.hidden;
    float absmax = 0;
    for (int i = lane; i < head.hidden; i += warpThreads) absmax = larger(absmax, fabsf(fromBFloat16(row[i])));
    absmax = __uint_as_float(ptx::reduceMax(__float_as_uint(absmax)));
    const float step = __fdiv_rn(absmax > 1e-30f ? absmax : 1e-30f, 127.0f), inverse = __fdiv_rn(1.0f, step);
    float squares = 0, errors = 0;
    for (int i = lane; i < p.stride; i += warpThreads) {
      const float w = i < head.hidden ? fromBFloat16(row[i]) : 0.0f;
      const float rounded = rintf(__fmul_rn(w, inverse));
      const int code = fabsf(rounded) <= 127.0f ? (int)rounded : rounded > 0 ? 127 : rounded < 0 ? -127 : 0;
      p.codes[(size_t)id * p.stride + i] = (int8_t)code;
      const float error = __fmul_rn(__fmaf_rn(-(float)code, step, w), inverse);
      squares = __fmaf_rn((float)code, (float)code, squares);
      errors = __fmaf_rn(error, error, errors);
    }
    squares = fold32(squares);
    errors = fold32(errors);
    // A row that is not finite gets norms that are not finite, and then always survives.
    if (lane == 0)
      p.rows[id] = make_float4(step, __fmul_rn(step, __fmul_rn(__fsqrt_rn(squares), upward)),
                               __fmul_rn(step, __fmul_rn(__fsqrt_rn(errors), upward)), 0.0f);
  }
}

/// The most each logit can be, and the largest lower bound. Launch: 256 threads; grid (any number of blocks, groups of
/// Tokens outputs); shared memory as for head, plus Tokens · (16 + 2·stride).
template <int Tokens> __device__ __forceinline__ void estimates(const ScreenParameters &p, unsigned char *shared) {
  const Head &head = p.head;
  const Screen &screen = p.screen;
  RowScratch &scratch = *(RowScratch *)shared;
  uint64 *keys = (uint64 *)(shared + sizeof(RowScratch));
  ScreenToken *token = (ScreenToken *)(shared + sizeof(RowScratch) + sizeof(uint64) * blockWarps * Tokens);
  int8_t *codes = (int8_t *)(token + Tokens);  // [Tokens][high, low][stride]
  float *normed = (float *)(codes + 2 * Tokens * screen.stride);
  const int first = blockIdx.y * Tokens, tokens = min(Tokens, p.outputs - first);
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  normalizeForHead<Tokens>(head, p.x, p.rows + first, tokens, normed, scratch);
  if (warp < Tokens)
    screenToken(normed + warp * rowFloats(head.hidden), head.hidden, screen.stride, token[warp],
                codes + 2 * warp * screen.stride, codes + (2 * warp + 1) * screen.stride);
  __syncthreads();
  uint64 own[Tokens] = {};
  for (int id = blockIdx.x * blockWarps + warp; id < head.vocabulary; id += gridDim.x * blockWarps) {
    const uint4 *row = screen.codes + (size_t)id * (screen.stride / 16);
    int highProduct[Tokens] = {}, lowProduct[Tokens] = {};
#pragma unroll 5
    for (int i = lane; i < screen.stride / 16; i += warpThreads) {
      const uint4 w = ptx::loadStream(row + i);
#pragma unroll
      for (int t = 0; t < Tokens; t++) {
        const int4 high = ((const int4 *)(codes + 2 * t * screen.stride))[i],
                   low = ((const int4 *)(codes + (2 * t + 1) * screen.stride))[i];
        highProduct[t] = ptx::dp4aSigned((int)w.x, high.x, highProduct[t]);
        highProduct[t] = ptx::dp4aSigned((int)w.y, high.y, highProduct[t]);
        highProduct[t] = ptx::dp4aSigned((int)w.z, high.z, highProduct[t]);
        highProduct[t] = ptx::dp4aSigned((int)w.w, high.w, highProduct[t]);
        lowProduct[t] = ptx::dp4aSigned((int)w.x, low.x, lowProduct[t]);
        lowProduct[t] = ptx::dp4aSigned((int)w.y, low.y, lowProduct[t]);
        lowProduct[t] = ptx::dp4aSigned((int)w.z, low.z, lowProduct[t]);
        lowProduct[t] = ptx::dp4aSigned((int)w.w, low.w, lowProduct[t]);
      }
    }
    const float4 facts = screen.rows[id];
#pragma unroll
    for (int t = 0; t < Tokens; t++) {
      float estimate, bound;
      estimateLogit(facts, token[t], ptx::reduceAdd(highProduct[t]), ptx::reduceAdd(lowProduct[t]), head.hidden,
                    estimate, bound);
      const uint64 key = logitKey(__fsub_rn(estimate, bound), id);
      own[t] = key > own[t] ? key : own[t];
      if (lane == t && t < tokens) p.upper[(size_t)(first + t) * head.vocabulary + id] = __fadd_rn(estimate, bound);
    }
  }
  publishBest<Tokens>(own, keys, tokens, p.floors + first);
}

extern "C" __global__ void __launch_bounds__(256, 3)
screen_1(const ScreenParameters p) {
  DYNAMIC_SHARED(shared);
  estimates<1>(p, shared);
}

extern "C" __global__ void __launch_bounds__(256, 2)
screen_4(const ScreenParameters p) {
  DYNAMIC_SHARED(shared);
  estimates<4>(p, shared);
}

/// Replaces upper bounds by logits: exact ones where the bound comes within `windows[output]` of the largest lower
/// bound, minus infinity elsewhere. Launch: 256 threads; grid (any number of blocks, outputs); shared memory as for
/// head_1.
extern "C" __global__ void __launch_bounds__(256, 3)
screen_rescore(const RescoreParameters p) {
  DYNAMIC_SHARED(shared);
  const Head &head = p.head;
  RowScratch &scratch = *(RowScratch *)shared;
  uint64 *keys = (uint64 *)(shared + sizeof(RowScratch));
  float *normed = (float *)(shared + sizeof(RowScratch) + sizeof(uint64) * blockWarps);
  const int output = blockIdx.y, warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  normalizeForHead<1>(head, p.x, p.rows + output, 1, normed, scratch);
  const float least = logitOfKey(ptx::loadCoherent(p.floors + output));
  // The window's edge, with room for the roundings of temperature and difference.
  const float threshold = __fsub_rn(__fsub_rn(least, p.windows[output]), __fmul_rn(1e-5f, fabsf(least)));
  float *own = p.logits + (size_t)output * head.vocabulary;
  uint64 most = 0;
  unsigned count = 0;
  for (int base = (blockIdx.x * blockWarps + warp) * warpThreads; base < head.vocabulary;
       base += gridDim.x * blockWarps * warpThreads) {
    const int id = base + lane;
    // Not "bound >= threshold": a bound that is not a number bounds nothing, so its row is computed.
    const bool survives = id < head.vocabulary && !(own[id] < threshold);
    if (id < head.vocabulary && !survives) own[id] = -__int_as_float(0x7F800000);
    unsigned left = __ballot_sync(0xFFFFFFFFu, survives);
    count += __popc(left);
    while (left) {
      const int member = __ffs(left) - 1;
      left &= left - 1;
      float logit[1];
      dotRow<1>(head, base + member, normed, logit);
      if (lane == 0) own[base + member] = logit[0];
      const uint64 key = logitKey(logit[0], base + member);
      most = key > most ? key : most;
    }
  }
  const uint64 found[1] = {most};
  publishBest<1>(found, keys, 1, p.best + output);
  if (lane == 0 && count) atomicAdd(p.survivors, count);
  __syncthreads();
  if (threadIdx.x == 0 && ptx::addRelease(p.arrivals + output, 1) == gridDim.x - 1) {
    p.arrivals[output] = 0;
    p.floors[output] = 0;
  }
}
