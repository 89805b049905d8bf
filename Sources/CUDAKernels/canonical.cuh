// Canonical float arithmetic for a block or a warp: the order of every sum is LaneOrder in
// Sources/Inference/CanonicalArithmetic.swift.
#pragma once
#include "ptx.cuh"

constexpr int warpThreads = 32;
constexpr int blockThreads = 256;
constexpr int blockWarps = blockThreads / warpThreads;
constexpr int chunkLength = 64;  // positions of one attention chunk and of one page of the cache

__device__ __forceinline__ float fromBFloat16(uint16_t bits) { return __uint_as_float((unsigned)bits << 16); }
__device__ __forceinline__ float lowBFloat16(unsigned pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float highBFloat16(unsigned pair) { return __uint_as_float(pair & 0xFFFF0000u); }

/// canonicalExponential.
__device__ __forceinline__ float exponential(float x) {
  const float v = x > 88.0f ? 88.0f : x;
  const float shifted = __fmaf_rn(v, 1.44269504f, 12582912.0f);
  const float k = __fadd_rn(shifted, -12582912.0f);
  float r = __fmaf_rn(k, -0.693359375f, v);
  r = __fmaf_rn(k, 2.1219444e-4f, r);
  float p = 0x1.6a225ap-10f;
  p = __fmaf_rn(p, r, 0x1.123b02p-7f);
  p = __fmaf_rn(p, r, 0x1.5558f8p-5f);
  p = __fmaf_rn(p, r, 0x1.555490p-3f);
  p = __fmaf_rn(p, r, 0x1.fffffcp-2f);
  p = __fmaf_rn(p, r, 1.0f);
  p = __fmaf_rn(p, r, 1.0f);
  const float y = __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
  // The integer addition would turn a GPU's one bit pattern for NaN into a number.
  return x < -87.0f ? 0.0f : x == x ? y : x;
}

/// max(gate, 0)² · up, or gate / (1 + e^-gate) · up.
__device__ __forceinline__ float gated(bool isSquaredReLU, float gate, float up) {
  if (isSquaredReLU) {
    const float positive = gate > 0 ? gate : 0;
    return __fmul_rn(__fmul_rn(positive, positive), up);
  }
  return __fmul_rn(__fdiv_rn(gate, __fadd_rn(1.0f, exponential(-gate))), up);
}

/// gate / (1 + e^-t) · up, t = gate · fma(gate², c₃, c₁): gelu with the tanh approximation.
__device__ __forceinline__ float gatedGelu(float gate, float up) {
  const float t = __fmul_rn(gate, __fmaf_rn(__fmul_rn(gate, gate), 0x1.2444f2p-4f, 0x1.988454p+0f));
  return __fmul_rn(__fdiv_rn(gate, __fadd_rn(1.0f, exponential(-t))), up);
}

/// The larger of both; the other one if one is not a number.
__device__ __forceinline__ float larger(float a, float b) { return fmaxf(a, b); }

/// 127 / max(absmax, 1e-5).
__device__ __forceinline__ float quantizerScale(float absmax) {
  return __fdiv_rn(127.0f, absmax > 1e-5f ? absmax : 1e-5f);
}

/// clamp(rint(x·s), -128, 127); -128 for a value that is not a number.
__device__ __forceinline__ int quantized(float x, float scale) {
  // Clamping before rounding gives the same, because the bounds are integers. Adding 1.5 · 2^23 leaves the integer,
  // rounded to nearest even, in the low bits: two additions instead of two instructions of the conversion unit, which
  // does sixteen lanes a clock.
  const float t = __fmul_rn(x, scale);
  const float low = t >= -128.0f ? t : -128.0f;
  return __float_as_int(__fadd_rn(low < 127.0f ? low : 127.0f, 12582912.0f)) - 0x4B400000;
}

/// The same plus quantizedBias, whose low byte is zero: the code is the low byte, and a sum's biases are subtracted at
/// once.
__device__ __forceinline__ unsigned quantizedBits(float x, float scale) {
  const float t = __fmul_rn(x, scale);
  const float low = t >= -128.0f ? t : -128.0f;
  return __float_as_uint(__fadd_rn(low < 127.0f ? low : 127.0f, 12582912.0f));
}
constexpr unsigned quantizedBias = 0x4B400000u;

/// The value of lane l combined with those of lanes l ± 16, 8, 4, 2, 1: 32 lanes combined by halving, in every lane of
/// the warp.
__device__ __forceinline__ float fold32(float x) {
#pragma unroll
  for (int half = 16; half > 0; half /= 2) x = __fadd_rn(x, __shfl_xor_sync(0xFFFFFFFFu, x, half));
  return x;
}

/// Eight sums a thread, lanes 8·thread … 8·thread + 7 of 256, combined by halving, in every thread of the warp.
///
/// Partner threads share the work: each keeps half of its lanes and gives the other half away, which takes twelve
/// exchanges instead of forty.
__device__ __forceinline__ float fold256(const float (&lane)[8]) {
  const int thread = threadIdx.x % warpThreads;
  float four[4], two[2];
  const bool keepsHigh4 = thread & 16, keepsHigh2 = thread & 8, keepsHigh1 = thread & 4;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float give = keepsHigh4 ? lane[i] : lane[i + 4];
    four[i] = __fadd_rn(keepsHigh4 ? lane[i + 4] : lane[i], __shfl_xor_sync(0xFFFFFFFFu, give, 16));
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const float give = keepsHigh2 ? four[i] : four[i + 2];
    two[i] = __fadd_rn(keepsHigh2 ? four[i + 2] : four[i], __shfl_xor_sync(0xFFFFFFFFu, give, 8));
  }
  const float give = keepsHigh1 ? two[0] : two[1];
  float one = __fadd_rn(keepsHigh1 ? two[1] : two[0], __shfl_xor_sync(0xFFFFFFFFu, give, 4));
  one = __fadd_rn(one, __shfl_xor_sync(0xFFFFFFFFu, one, 2));
  one = __fadd_rn(one, __shfl_xor_sync(0xFFFFFFFFu, one, 1));
  // Bits 4, 3, 2 of the thread now say which of the eight lanes it holds: 4·bit4 + 2·bit3 + bit2.
  one = __fadd_rn(one, __shfl_xor_sync(0xFFFFFFFFu, one, 16));
  one = __fadd_rn(one, __shfl_xor_sync(0xFFFFFFFFu, one, 8));
  return __fadd_rn(one, __shfl_xor_sync(0xFFFFFFFFu, one, 4));
}
