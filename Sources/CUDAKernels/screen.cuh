// The screened head: an int8 copy of the table bounds every logit; only rows that can matter are computed from
// bfloat16.
//
// Documentation/numerics.md has the bound and its proof: |logit - ŵ·x̂| ≤ |ŵ|·|d| + |e|·|x| + γ·(|ŵ| + |e|)·|x| for a
// row w = ŵ + e and activations x = x̂ + d. Norms are rounded up when they are stored, squares are taken in units of
// the step, so that they neither underflow nor overflow, and everything is computed in float, with a relative slack of
// 1e-5.
#pragma once
#include "head.cuh"

/// A token's activations in the screen, in shared memory; followed by [stride] high codes and [stride] low codes.
struct ScreenToken {
  float unit;
  float norm;   // at least |x|
  float error;  // at least |x - x̂|
  float unused;
};

constexpr float upward = 1.00001f;  // more than all roundings of a norm's computation
constexpr float underflow = 1e-30f;  // more than what subnormal roundings can add up to

/// Quantises one normalised row (in rowPlace order) to sixteen bits, by one warp.
__device__ __forceinline__ void screenToken(const float *x, int hidden, int stride, ScreenToken &token, int8_t *high,
                                            int8_t *low) {
  const int lane = threadIdx.x % warpThreads;
  float absmax = 0;
  for (int i = lane; i < hidden; i += warpThreads) absmax = larger(absmax, fabsf(x[rowPlace(i)]));
  absmax = __uint_as_float(ptx::reduceMax(__float_as_uint(absmax)));
  const float unit = __fdiv_rn(absmax > 1e-30f ? absmax : 1e-30f, 32000.0f), inverse = __fdiv_rn(1.0f, unit);
  float squares = 0, errors = 0;
  for (int i = lane; i < stride; i += warpThreads) {
    const float v = i < hidden ? x[rowPlace(i)] : 0.0f, whole = __fmul_rn(v, inverse);
    // Within ±32001, so the high byte is within ±125 and nothing overflows; a value that is not finite becomes 0 and
    // makes the norms NaN.
    const int code = fabsf(whole) <= 32001.0f ? (int)rintf(whole) : 0;
    const int8_t below = (int8_t)(code & 255);
    low[i] = below;
    high[i] = (int8_t)((code - below) / 256);
    const float error = __fmul_rn(__fmaf_rn(-(float)code, unit, v), inverse);
    squares = __fmaf_rn(whole, whole, squares);
    errors = __fmaf_rn(error, error, errors);
  }
  squares = fold32(squares);
  errors = fold32(errors);
  if (lane == 0) {
    token.unit = unit;
    token.norm = __fmul_rn(unit, __fmul_rn(__fsqrt_rn(squares), upward));
    token.error = __fmul_rn(unit, __fmul_rn(__fsqrt_rn(errors), upward));
  }
}

/// The estimate ŵ·x̂ of a logit and the bound of its error, from the two integer products.
__device__ __forceinline__ void estimateLogit(const float4 &row, const ScreenToken &token, int highProduct,
                                              int lowProduct, int hidden, float &estimate, float &bound) {
  const float product = __fmaf_rn(256.0f, (float)highProduct, (float)lowProduct);
  estimate = __fmul_rn(product, __fmul_rn(row.x, token.unit));
  const float gamma = __fmul_rn((float)(hidden / 256 + 16), 0x1p-22f);
  const float whole = __fadd_rn(row.y, row.z);
  bound = __fmaf_rn(row.y, token.error, __fmul_rn(row.z, token.norm));
  bound = __fmaf_rn(__fmul_rn(gamma, whole), token.norm, bound);
  bound = __fadd_rn(__fmul_rn(bound, upward), underflow);
  // The largest that a lane of the canonical sum can be is |w||x|; where that may overflow, the bound becomes infinity
  // · 0, not a number.
  bound = __fmaf_rn(__fmul_rn(whole, __fmul_rn(16.0f, token.norm)), 0.0f, bound);
}

/// The logit below which the window ends, with room for the roundings of temperature and difference.
__device__ __forceinline__ float windowEdge(float largest, float window) {
  return __fsub_rn(__fsub_rn(largest, window), __fmul_rn(1e-5f, fabsf(largest)));
}
