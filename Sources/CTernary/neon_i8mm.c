// Kernels for arm64 with dot product and int8 matrix instructions: smmla multiplies 2 rows × 8 columns by 8 columns × 2
// tokens.
#include "CTernary.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#pragma clang attribute push(__attribute__((target("dotprod,i8mm"))), apply_to = function)

#define KERNEL(name) name##_neon_i8mm
#include "canonical.inc"
#include "neon.inc"

// Interleaving the words of a tile's two column halves puts 32 codes of one row side by side, so that decoding step i
// yields two rows × columns 4i…4i+3 and 16+4i…16+4i+3. The activations of two tokens are packed in that order once for
// many rows: packed[tile][step][pair of tokens][token][8 columns].
enum { PACKED = 32768, BLOCK = 128 };

INLINE void packPair(const int8_t *one, const int8_t *other, int8_t *packed, ptrdiff_t step) {
  const int32x4_t a = vreinterpretq_s32_s8(vld1q_s8(one)), b = vreinterpretq_s32_s8(vld1q_s8(one + 16));
  const int32x4_t c = vreinterpretq_s32_s8(vld1q_s8(other)), d = vreinterpretq_s32_s8(vld1q_s8(other + 16));
  const int64x2_t ab = vreinterpretq_s64_s32(vzip1q_s32(a, b)), AB = vreinterpretq_s64_s32(vzip2q_s32(a, b));
  const int64x2_t cd = vreinterpretq_s64_s32(vzip1q_s32(c, d)), CD = vreinterpretq_s64_s32(vzip2q_s32(c, d));
  vst1q_s8(packed, vreinterpretq_s8_s64(vzip1q_s64(ab, cd)));
  vst1q_s8(packed + step, vreinterpretq_s8_s64(vzip2q_s64(ab, cd)));
  vst1q_s8(packed + 2 * step, vreinterpretq_s8_s64(vzip1q_s64(AB, CD)));
  vst1q_s8(packed + 3 * step, vreinterpretq_s8_s64(vzip2q_s64(AB, CD)));
}

// Adds the products of eight rows, one half of every tile, with `count` (2…8) tokens to out; the first tiles overwrite
// out instead. Eight tokens take 64 smmla and 28 instructions to interleave and decode: 23 cycles on Neoverse V1 and
// V2, 46 on N2, according to llvm-mca 19.
INLINE void eightRows(const uint8_t *p, ptrdiff_t tiles, const int8_t *packed, const int32_t *sums, const int count,
                      const int first, int32_t *out, ptrdiff_t outStride) {
  const int pairs = (count + 1) / 2;
  int32x4_t dots[4][4] = {
      0};  // [pair][two rows]: row 0 with token 0, row 0 with token 1, row 1 with token 0, row 1 with token 1
  for (ptrdiff_t k = 0; k < tiles; k++, p += 128) {
    prefetchTile(p);
    uint8x16_t rows[4];
    UNROLL for (int q = 0; q < 2; q++) {
      const uint32x4_t left = vreinterpretq_u32_u8(vld1q_u8(p + 16 * q)),
                       right = vreinterpretq_u32_u8(vld1q_u8(p + 32 + 16 * q));
      rows[2 * q] = vreinterpretq_u8_u32(vzip1q_u32(left, right));
      rows[2 * q + 1] = vreinterpretq_u8_u32(vzip2q_u32(left, right));
    }
    UNROLL for (int i = 0; i < 4; i++) {
      int8x16_t w[4];
      UNROLL for (int r = 0; r < 4; r++) w[r] = field(rows[r], i);
      UNROLL for (int t = 0; t < pairs; t++) {
        const int8x16_t a = vld1q_s8(packed + 16 * (pairs * i + t));
        UNROLL for (int r = 0; r < 4; r++) dots[t][r] = vmmlaq_s32(dots[t][r], w[r], a);
      }
    }
    packed += 64 * pairs;
  }
  UNROLL for (int t = 0; t < count; t++) {
    int32_t *o = out + t * outStride;
    const int32x4_t bias = vdupq_n_s32(-2 * sums[t]);  // codes are stored + 2
    UNROLL for (int half = 0; half < 2; half++) {
      const int32x4_t a = dots[t / 2][2 * half], b = dots[t / 2][2 * half + 1];
      const int32x4_t four = t % 2 ? vuzp2q_s32(a, b) : vuzp1q_s32(a, b);
      vst1q_s32(o + 4 * half, vaddq_s32(four, first ? bias : vld1q_s32(o + 4 * half)));
    }
  }
}

// Multiplies `rows` rows (a multiple of 16) with `count` tokens, as many columns at a time as have packed activations
// that fit the buffer. With few tokens that is every column; memory is then the limit, and weights are one stream.
INLINE void manyRows(const uint8_t *tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows, const int8_t *codes,
                     ptrdiff_t codeStride, const int32_t *sums, const int count, int8_t *packed, int32_t *out,
                     ptrdiff_t outStride) {
  const int pairs = (count + 1) / 2;
  const ptrdiff_t most = PACKED / (64 * pairs);
  for (ptrdiff_t k = 0; k < tilesPerRow; k += most) {
    const ptrdiff_t here = tilesPerRow - k < most ? tilesPerRow - k : most;
    for (int t = 0; t < pairs; t++) {
      // An odd last token is paired with itself.
      const int8_t *one = codes + 2 * t * codeStride + 32 * k, *other = 2 * t + 1 < count ? one + codeStride : one;
      for (ptrdiff_t i = 0; i < here; i++)
        packPair(one + 32 * i, other + 32 * i, packed + 64 * pairs * i + 16 * t, 16 * pairs);
    }
    for (ptrdiff_t n = 0; n < rows; n += 8)
      eightRows(tiles + n / 16 * tilesPerRow * 128 + n % 16 * 8 + k * 128, here, packed, sums, count, k == 0, out + n,
                outStride);
  }
}

static void
    KERNEL(multiply) (const void *tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows, const int8_t *codes,
                      ptrdiff_t codeStride, const int32_t *sums, ptrdiff_t tokens, int32_t *out, ptrdiff_t outStride) {
  int8_t packed[PACKED] __attribute__((aligned(64)));
  // A block's weights stay in L2 from one group of tokens to the next.
  for (ptrdiff_t n = 0; n < rows; n += BLOCK) {
    const ptrdiff_t here = rows - n < BLOCK ? rows - n : BLOCK;
    const uint8_t *p = (const uint8_t *)tiles + n / 16 * tilesPerRow * 128;
    for (ptrdiff_t t = 0; t < tokens; t += 8) {
      const int8_t *c = codes + t * codeStride;
      const int32_t *s = sums + t;
      int32_t *o = out + t * outStride + n;
      switch (tokens - t) {
        case 1:
          for (ptrdiff_t r = 0; r < here; r += 16)
            sixteenRows(p + r / 16 * tilesPerRow * 128, tilesPerRow, c, s[0], o + r);
          break;
        case 2: manyRows(p, tilesPerRow, here, c, codeStride, s, 2, packed, o, outStride); break;
        case 3: manyRows(p, tilesPerRow, here, c, codeStride, s, 3, packed, o, outStride); break;
        case 4: manyRows(p, tilesPerRow, here, c, codeStride, s, 4, packed, o, outStride); break;
        case 5: manyRows(p, tilesPerRow, here, c, codeStride, s, 5, packed, o, outStride); break;
        case 6: manyRows(p, tilesPerRow, here, c, codeStride, s, 6, packed, o, outStride); break;
        case 7: manyRows(p, tilesPerRow, here, c, codeStride, s, 7, packed, o, outStride); break;
        default: manyRows(p, tilesPerRow, here, c, codeStride, s, 8, packed, o, outStride);
      }
    }
  }
}

const TernaryKernels ternary_kernels_neon_i8mm = KERNELS("neon-i8mm");

#pragma clang attribute pop
#endif
