// Kernels for arm64 with the dot product instructions (ARMv8.2 and later).
#include "CTernary.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

#define KERNEL(name) name##_neon
#include "canonical.inc"
#include "neon.inc"

// Multiplies eight rows, one half of every tile, with `count` (2…8) tokens. A register is decoded once for all tokens,
// and the sums (at most 16) stay in registers. Eight tokens take 128 sdot and 24 instructions to decode: 41 cycles on
// Neoverse V1 and V2, 83 on N1 and N2, according to llvm-mca 19.
INLINE void eightRows(const uint8_t *p, ptrdiff_t tilesPerRow, const int8_t *codes, ptrdiff_t codeStride,
                      const int32_t *sums, const int count, int32_t *out, ptrdiff_t outStride) {
  int32x4_t low[8] = {0}, high[8] = {0};
  for (ptrdiff_t k = 0; k < tilesPerRow; k++, p += 128, codes += 32) {
    prefetchTile(p);
    UNROLL for (int h = 0; h < 2; h++) {
      int8x16_t a[8];
      UNROLL for (int t = 0; t < count; t++) a[t] = vld1q_s8(codes + t * codeStride + 16 * h);
      const uint8x16_t x = vld1q_u8(p + 32 * h), z = vld1q_u8(p + 32 * h + 16);
#define STEP(i)                                                                   \
  {                                                                               \
    const int8x16_t u = field(x, i), v = field(z, i);                             \
    UNROLL for (int t = 0; t < count; t++) {                                      \
      low[t] = vdotq_laneq_s32(low[t], u, a[t], i);                               \
      high[t] = vdotq_laneq_s32(high[t], v, a[t], i);                             \
    }                                                                             \
  }
      STEP(0) STEP(1) STEP(2) STEP(3)
#undef STEP
    }
  }
  UNROLL for (int t = 0; t < count; t++) {
    const int32x4_t bias = vdupq_n_s32(2 * sums[t]);  // codes are stored + 2
    vst1q_s32(out + t * outStride, vsubq_s32(low[t], bias));
    vst1q_s32(out + t * outStride + 4, vsubq_s32(high[t], bias));
  }
}

static void
    KERNEL(multiply) (const void *tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows, const int8_t *codes,
                      ptrdiff_t codeStride, const int32_t *sums, ptrdiff_t tokens, int32_t *out, ptrdiff_t outStride) {
  for (ptrdiff_t n = 0; n < rows; n += 16) {
    const uint8_t *p = (const uint8_t *)tiles + n / 16 * tilesPerRow * 128;
    // A row of tiles is read from memory for the first eight rows and first eight tokens, then from L1 for the others.
    for (ptrdiff_t t = 0; t < tokens; t += 8) {
      const int8_t *c = codes + t * codeStride;
      int32_t *o = out + t * outStride + n;
      if (tokens - t == 1) {
        sixteenRows(p, tilesPerRow, c, sums[t], o);
        continue;
      }
      for (int half = 0; half < 2; half++, o += 8) {
        const uint8_t *q = p + 64 * half;
        switch (tokens - t) {
          case 2: eightRows(q, tilesPerRow, c, codeStride, sums + t, 2, o, outStride); break;
          case 3: eightRows(q, tilesPerRow, c, codeStride, sums + t, 3, o, outStride); break;
          case 4: eightRows(q, tilesPerRow, c, codeStride, sums + t, 4, o, outStride); break;
          case 5: eightRows(q, tilesPerRow, c, codeStride, sums + t, 5, o, outStride); break;
          case 6: eightRows(q, tilesPerRow, c, codeStride, sums + t, 6, o, outStride); break;
          case 7: eightRows(q, tilesPerRow, c, codeStride, sums + t, 7, o, outStride); break;
          default: eightRows(q, tilesPerRow, c, codeStride, sums + t, 8, o, outStride);
        }
      }
    }
  }
}

const TernaryKernels ternary_kernels_neon = KERNELS("neon");

#pragma clang attribute pop
#endif
