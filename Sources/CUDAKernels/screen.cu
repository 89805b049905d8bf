// The screened head, in two launches: estimates and bounds of all logits, then the logits that can matter, exactly.
// screen_cuts.cu has the kernel between them that finds which rows matter with top-k and top-p.
//
// Bytes: vocabulary·hidden of int8 codes from memory for each group of tokens, then 2·hidden for each row that
// survives. Bound by: memory; two dp4a for each four weights and token, or four mma for 16 rows, 64 columns and eight
// tokens.
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
  publishBest<Tokens>(own, keys, tokens, p.floors + first, p.blockFloors + (size_t)first * mostScreenBlocks);
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

/// Normalises and quantises the rows of outputs for screen_many. Launch: 256 threads; grid (outputs); shared memory as
/// for head_1.
extern "C" __global__ void __launch_bounds__(256)
screen_tokens(const ScreenTokensParameters p) {
  DYNAMIC_SHARED(shared);
  float *normed = (float *)(shared + sizeof(RowScratch) + sizeof(uint64) * blockWarps);
  const int output = blockIdx.x;
  normalizeForHead<1>(p.head, p.x, p.rows + output, 1, normed, *(RowScratch *)shared);
  if (threadIdx.x >= warpThreads) return;
  ScreenToken token;
  int8_t *codes = p.codes + (size_t)output * 2 * p.stride;
  screenToken(normed, p.head.hidden, p.stride, token, codes, codes + p.stride);
  if (threadIdx.x == 0) p.facts[output] = make_float4(token.unit, token.norm, token.error, 0.0f);
}

/// Bytes between the codes of two tokens in shared memory: the loads of eight lanes use all banks once.
__device__ __forceinline__ int spacedStride(int stride) { return (stride + 127) / 128 * 128 + 64; }

/// screen_4's results for up to sixteen outputs: a warp takes sixteen rows at a time on the tensor cores. Within 64
/// columns, both operands have the columns in the order in which a thread loads them: its sixteen are the first and the
/// second half of two steps. Launch: 256 threads; grid (any number of blocks, groups of screenGroup outputs); shared
/// memory: keys of 8 bytes [blockWarps][screenGroup], facts of 16 bytes [screenGroup], codes
/// [screenGroup][high, low][spacedStride].
extern "C" __global__ void __launch_bounds__(256, 2)
screen_many(const ScreenManyParameters p) {
  DYNAMIC_SHARED(shared);
  constexpr int tiles = screenGroup / 8;
  uint64 *keys = (uint64 *)shared;
  float4 *facts = (float4 *)(keys + blockWarps * screenGroup);
  unsigned char *codes = (unsigned char *)(facts + screenGroup);
  const Screen screen = p.screen;
  const int words = screen.stride / 16, spaced = spacedStride(screen.stride), vocabulary = p.vocabulary;
  const int first = blockIdx.y * screenGroup, outputs = min((int)screenGroup, p.outputs - first);
  if (threadIdx.x < screenGroup)
    facts[threadIdx.x] = (int)threadIdx.x < outputs ? p.facts[first + threadIdx.x] : make_float4(0, 0, 0, 0);
  for (int i = threadIdx.x; i < 2 * screenGroup * (spaced / 16); i += blockThreads) {
    const int plane = i / (spaced / 16), word = i % (spaced / 16);
    const bool valid = plane < 2 * outputs && word < words;
    *(uint4 *)(codes + plane * spaced + 16 * word) =
        valid ? p.codes[(size_t)(2 * first + plane) * words + word] : make_uint4(0, 0, 0, 0);
  }
  __syncthreads();
  const int warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  const int g = lane / 4, c = lane % 4;  // rows g and g + 8 of the warp's, tokens 2c and 2c + 1 of each tile
  uint64 own[tiles][2] = {};
  for (int base = 16 * (blockIdx.x * blockWarps + warp); base < vocabulary; base += 16 * gridDim.x * blockWarps) {
    const int ids[2] = {base + g, base + g + 8};
    const uint4 *row[2];
#pragma unroll
    for (int r = 0; r < 2; r++) row[r] = screen.codes + (size_t)min(ids[r], vocabulary - 1) * words;
    int high[tiles][4] = {}, low[tiles][4] = {};
    constexpr int ahead = 4;  // loads of each row that are under way
    for (int from = 0; from < words; from += 4 * ahead) {
      uint4 w[ahead][2];
#pragma unroll
      for (int a = 0; a < ahead; a++) {
        const int word = from + 4 * a + c;
#pragma unroll
        for (int r = 0; r < 2; r++) w[a][r] = word < words ? ptx::loadStream(row[r] + word) : make_uint4(0, 0, 0, 0);
      }
#pragma unroll
      for (int a = 0; a < ahead; a++) {
        if (from + 4 * a >= words) break;
        const uint4 one = w[a][0], two = w[a][1];
#pragma unroll
        for (int t = 0; t < tiles; t++) {
          const unsigned char *token = codes + (8 * t + g) * 2 * spaced + 16 * (from + 4 * a + c);
          const uint4 h = *(const uint4 *)token, l = *(const uint4 *)(token + spaced);
          ptx::mmaSigned(high[t], one.x, two.x, one.y, two.y, h.x, h.y);
          ptx::mmaSigned(high[t], one.z, two.z, one.w, two.w, h.z, h.w);
          ptx::mmaSigned(low[t], one.x, two.x, one.y, two.y, l.x, l.y);
          ptx::mmaSigned(low[t], one.z, two.z, one.w, two.w, l.z, l.w);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
      if (ids[r] >= vocabulary) continue;
      const float4 row = screen.rows[ids[r]];
#pragma unroll
      for (int t = 0; t < tiles; t++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          const int output = 8 * t + 2 * c + e;
          const float4 f = facts[output];
          float estimate, bound;
          estimateLogit(row, ScreenToken{f.x, f.y, f.z, f.w}, high[t][2 * r + e], low[t][2 * r + e], p.hidden, estimate,
                        bound);
          const uint64 key = logitKey(__fsub_rn(estimate, bound), ids[r]);
          own[t][e] = key > own[t][e] ? key : own[t][e];
          if (output < outputs) p.upper[(size_t)(first + output) * vocabulary + ids[r]] = __fadd_rn(estimate, bound);
        }
    }
  }
  // The lanes with the same tokens are four apart.
#pragma unroll
  for (int t = 0; t < tiles; t++)
#pragma unroll
    for (int e = 0; e < 2; e++) {
#pragma unroll
      for (int step = 4; step < warpThreads; step *= 2) {
        const unsigned upper = __shfl_xor_sync(0xFFFFFFFFu, (unsigned)(own[t][e] >> 32), step),
                       lower = __shfl_xor_sync(0xFFFFFFFFu, (unsigned)own[t][e], step);
        const uint64 other = (uint64)upper << 32 | lower;
        own[t][e] = other > own[t][e] ? other : own[t][e];
      }
      if (g == 0) keys[warp * screenGroup + 8 * t + 2 * c + e] = own[t][e];
    }
  __syncthreads();
  if ((int)threadIdx.x < outputs) {
    uint64 most = 0;
    for (int w = 0; w < blockWarps; w++)
      most = keys[w * screenGroup + threadIdx.x] > most ? keys[w * screenGroup + threadIdx.x] : most;
    atomicMax(p.floors + first + threadIdx.x, most);
    p.blockFloors[(size_t)(first + threadIdx.x) * mostScreenBlocks + blockIdx.x] = most;
  }
}

/// Computes the logits of rows whose upper bound comes within `windows[output]` of the largest lower bound, or reaches
/// the threshold of a cut; the others are minus infinity. Launch: 256 threads; grid (any number of blocks, outputs);
/// shared memory as for head_1.
extern "C" __global__ void __launch_bounds__(256, 3)
screen_rescore(const RescoreParameters p) {
  DYNAMIC_SHARED(shared);
  const Head &head = p.head;
  RowScratch &scratch = *(RowScratch *)shared;
  uint64 *keys = (uint64 *)(shared + sizeof(RowScratch));
  float *normed = (float *)(shared + sizeof(RowScratch) + sizeof(uint64) * blockWarps);
  const int output = blockIdx.y, warp = threadIdx.x / warpThreads, lane = threadIdx.x % warpThreads;
  if (p.cuts.attempt && !p.cuts.retries[output]) return;
  normalizeForHead<1>(head, p.x, p.rows + output, 1, normed, scratch);
  const float temperature = p.sampling[output].temperature, infinity = __int_as_float(0x7F800000);
  float threshold = p.cuts.cuts ? p.cuts.cuts[output].thresholds[p.cuts.attempt]
                                : windowEdge(logitOfKey(ptx::loadCoherent(p.floors + output)), p.windows[output]);
  // Where the sampler's division overflows, the first token is chosen among all whose quotients are equal, however far
  // their logits are apart.
  if (temperature > 0 && !(fabsf(__fdiv_rn(threshold, temperature)) < infinity)) threshold = -infinity;
  const float *upper = p.upper + (size_t)output * head.vocabulary;
  float *own = p.logits + (size_t)output * head.vocabulary;
  uint64 most = 0;
  unsigned count = 0;
  for (int base = (blockIdx.x * blockWarps + warp) * warpThreads; base < head.vocabulary;
       base += gridDim.x * blockWarps * warpThreads) {
    const int id = base + lane;
    // Not "bound >= threshold": a bound that is not a number bounds nothing, so its row is computed.
    const bool survives = id < head.vocabulary && !(upper[id] < threshold);
    if (id < head.vocabulary && !survives) own[id] = -infinity;
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
