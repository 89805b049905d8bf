// Operations on whole rows of activations that only some models have: norms of each projection's own input, of heads
// and of a block's outputs, scaled outputs, and the gated activation after two separate products.
//
// Bytes: each row is read from the second-level cache and written once. Bound by: latency; blocks are many and short.
#include "quantize.cuh"

/// Up to two RMSNorms in succession, and the absmax quantiser, for each of a matrix's stacked parts. Launch: 256
/// threads; grid (rows, parts); shared memory sizeof(RowScratch).
extern "C" __global__ void __launch_bounds__(256, 2)
quantize_parts(const QuantizePartsParameters p) {
  DYNAMIC_SHARED(shared);
  RowScratch &scratch = *(RowScratch *)shared;
  const int n = p.columns, part = blockIdx.y;
  const size_t place = (size_t)part * p.partRows + blockIdx.x;
  const float *x = p.x + (size_t)blockIdx.x * p.xStride;
  // Selects, not an index: an index that is not constant would put the addresses on the stack.
  const float *own = part == 0 ? p.partNorms[0] : part == 1 ? p.partNorms[1] : p.partNorms[2];
  const float r = p.norm ? blockNormalizer(x, p.epsilon, n, scratch) : 0.0f;
  float ownR = 0;
  if (own) {
    float squares = 0;
    for (int i = threadIdx.x; i < n; i += blockThreads) {
      const float v = normalized(x, p.norm, r, i);
      squares = __fmaf_rn(v, v, squares);
    }
    __syncthreads();  // all threads have read the lanes of the sum before
    ownR = combinedNormalizer(squares, p.partEpsilon, n, scratch);
  }
  const auto value = [&](int i) {
    const float v = normalized(x, p.norm, r, i);
    return own ? __fmul_rn(__fmul_rn(v, ownR), own[i]) : v;
  };
  float absmax = 0;
  for (int i = threadIdx.x; i < n; i += blockThreads) absmax = larger(absmax, fabsf(value(i)));
  const float scale = blockScale(absmax, scratch);
  int8_t *codes = p.codes + place * p.codeStride;
  int ownSum = 0;
  for (int i = threadIdx.x; i < p.codeStride; i += blockThreads) {
    const int code = i < n ? quantized(value(i), scale) : 0;
    codes[i] = (int8_t)code;
    ownSum += code;
  }
  const int sum = codeSum(ownSum, scratch);
  if (threadIdx.x == 0) {
    p.scales[place] = scale;
    p.sums[place] = sum;
  }
}

/// RMSNorm of each head of the queries and of the keys, in place, where it has a norm: a warp a head. Launch: 256
/// threads; grid (rows, heads of queries and keys over 8, rounded up).
extern "C" __global__ void __launch_bounds__(256)
normalize_heads(const NormalizeHeadsParameters p) {
  const Heads &h = p.heads;
  const int head = blockIdx.y * blockWarps + threadIdx.x / warpThreads;
  if (head >= h.queryHeads + h.keyValueHeads) return;
  const float *weight = head < h.queryHeads ? p.queryNorm : p.keyNorm;
  if (!weight) return;
  float *x = p.qkv + (size_t)blockIdx.x * (h.queryHeads + 2 * h.keyValueHeads) * h.size + head * h.size;
  // Its shuffles come after all reads of the warp, and a thread writes only what it reads itself.
  const float r = warpNormalizer(x, p.epsilon, h.size);
  for (int i = threadIdx.x % warpThreads; i < h.size; i += warpThreads) x[i] = normalized(x, weight, r, i);
}

/// x += scale · branch, fused, after the branch's RMSNorm if there is one. Launch: 256 threads; one block a row; shared
/// memory sizeof(RowScratch).
extern "C" __global__ void __launch_bounds__(256)
add_branch(const AddBranchParameters p) {
  DYNAMIC_SHARED(shared);
  const float *branch = p.branch + (size_t)blockIdx.x * p.hidden;
  float *x = p.x + (size_t)blockIdx.x * p.hidden;
  const float r = p.norm ? blockNormalizer(branch, p.epsilon, p.hidden, *(RowScratch *)shared) : 0.0f;
  for (int i = threadIdx.x; i < p.hidden; i += blockThreads)
    x[i] = __fmaf_rn(normalized(branch, p.norm, r, i), p.scale, x[i]);
}

/// The gated activation of two products. Launch: 256 threads; one block a row.
extern "C" __global__ void __launch_bounds__(256)
gate_rows(const GateParameters p) {
  const float *gate = p.gateUp + (size_t)blockIdx.x * 2 * p.width, *up = gate + p.width;
  float *out = p.out + (size_t)blockIdx.x * p.outStride;
  for (int i = threadIdx.x; i < p.width; i += blockThreads)
    out[i] = p.activation == activationGeluTanh ? gatedGelu(gate[i], up[i])
                                                : gated(p.activation == activationSquaredReLU, gate[i], up[i]);
}

/// scale · the final RMSNorm of the outputs' rows; out may be x. Launch: 256 threads; one block an output; shared memory
/// sizeof(RowScratch).
extern "C" __global__ void __launch_bounds__(256)
scale_outputs(const ScaleOutputsParameters p) {
  DYNAMIC_SHARED(shared);
  const size_t first = (size_t)p.rows[blockIdx.x] * p.hidden;
  const float *x = p.x + first;
  const float r = blockNormalizer(x, p.epsilon, p.hidden, *(RowScratch *)shared);
  for (int i = threadIdx.x; i < p.hidden; i += blockThreads)
    p.out[first + i] = __fmul_rn(normalized(x, p.norm, r, i), p.scale);
}
