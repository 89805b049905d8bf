// Kernels for x86-64 with AVX-512 and VNNI.
#include "CTernary.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)

#define KERNEL(name) name##_avx512
#include "canonical.inc"

// A 64-byte half of a tile is eight rows × two column halves: lanes 0-7 hold columns 0-15, lanes 8-15 columns 16-31. One register of
// activations serves two tiles; permutation [h][i] brings to every lane the four activations that meet elements 4i…4i+3 of tile h.
typedef struct {
  __m512i lanes[2][4];
} Spread;

INLINE Spread spread(void) {
  Spread s;
  UNROLL for (int h = 0; h < 2; h++)
    UNROLL for (int i = 0; i < 4; i++) {
      const int a = 8 * h + i, b = a + 4;
      s.lanes[h][i] = _mm512_set_epi32(b, b, b, b, b, b, b, b, a, a, a, a, a, a, a, a);
    }
  return s;
}

// Adds one tile's products with `count` tokens; a[t] holds token t's activations of this tile and its neighbour.
INLINE void tile(const char *p, const __m512i *permutations, const __m512i *a, const int count, __m512i *low, __m512i *high) {
  const __m512i three = _mm512_set1_epi8(3), x = _mm512_loadu_si512(p), z = _mm512_loadu_si512(p + 64);
#define STEP(i)                                                                            \
  {                                                                                        \
    const __m512i u = _mm512_and_si512(_mm512_srli_epi32(x, 2 * i), three);                \
    const __m512i v = _mm512_and_si512(_mm512_srli_epi32(z, 2 * i), three);                \
    UNROLL for (int t = 0; t < count; t++) {                                               \
      const __m512i y = _mm512_permutexvar_epi32(permutations[i], a[t]);                   \
      low[t] = _mm512_dpbusd_epi32(low[t], u, y);                                          \
      high[t] = _mm512_dpbusd_epi32(high[t], v, y);                                        \
    }                                                                                      \
  }
  STEP(0) STEP(1) STEP(2) STEP(3)
#undef STEP
}

// 16 rows times `count` tokens. One row of tiles at a time is one sequential stream from memory, which the prefetchers need; the
// software prefetch runs 8 KiB ahead (shorter and longer distances were slower).
INLINE void sixteenRows(const char *p, ptrdiff_t tilesPerRow, const Spread *s, const int8_t *codes, ptrdiff_t codeStride,
                        const int32_t *sums, const int count, int32_t *out, ptrdiff_t outStride) {
  __m512i low[4], high[4], a[4];
  UNROLL for (int t = 0; t < count; t++) low[t] = high[t] = _mm512_setzero_si512();
  ptrdiff_t k = 0;
  for (; k + 2 <= tilesPerRow; k += 2, p += 256, codes += 64) {
    UNROLL for (int line = 0; line < 4; line++) _mm_prefetch(p + 8192 + 64 * line, _MM_HINT_T0);
    UNROLL for (int t = 0; t < count; t++) a[t] = _mm512_loadu_si512(codes + t * codeStride);
    tile(p, s->lanes[0], a, count, low, high);
    tile(p + 128, s->lanes[1], a, count, low, high);
  }
  if (k < tilesPerRow) {
    UNROLL for (int t = 0; t < count; t++) a[t] = _mm512_loadu_si512(codes + t * codeStride);
    tile(p, s->lanes[0], a, count, low, high);
  }
  UNROLL for (int t = 0; t < count; t++) {
    const __m256i bias = _mm256_set1_epi32(2 * sums[t]);  // codes are stored + 2
    const __m256i r = _mm256_add_epi32(_mm512_castsi512_si256(low[t]), _mm512_extracti64x4_epi64(low[t], 1));
    const __m256i q = _mm256_add_epi32(_mm512_castsi512_si256(high[t]), _mm512_extracti64x4_epi64(high[t], 1));
    _mm256_storeu_si256((__m256i *)(out + t * outStride), _mm256_sub_epi32(r, bias));
    _mm256_storeu_si256((__m256i *)(out + t * outStride + 8), _mm256_sub_epi32(q, bias));
  }
}

static void KERNEL(multiply)(const void *tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows, const int8_t *codes, ptrdiff_t codeStride,
                             const int32_t *sums, ptrdiff_t tokens, int32_t *out, ptrdiff_t outStride) {
  const Spread s = spread();
  for (ptrdiff_t n = 0; n < rows; n += 16) {
    const char *p = (const char *)tiles + n / 16 * tilesPerRow * 128;
    // A row of tiles is read from memory for the first four tokens and from L1 for the others.
    for (ptrdiff_t t = 0; t < tokens; t += 4) {
      const int8_t *c = codes + t * codeStride;
      int32_t *o = out + t * outStride + n;
      switch (tokens - t) {
        case 1: sixteenRows(p, tilesPerRow, &s, c, codeStride, sums + t, 1, o, outStride); break;
        case 2: sixteenRows(p, tilesPerRow, &s, c, codeStride, sums + t, 2, o, outStride); break;
        case 3: sixteenRows(p, tilesPerRow, &s, c, codeStride, sums + t, 3, o, outStride); break;
        default: sixteenRows(p, tilesPerRow, &s, c, codeStride, sums + t, 4, o, outStride);
      }
    }
  }
}

// One row with one or two vectors: a row xor 0x80 is the row + 128, unsigned.
INLINE void oneRow(const int8_t *row, ptrdiff_t stride, const int8_t *codes, ptrdiff_t codeStride, const int32_t *sums, const int vectors,
                   int32_t *out, ptrdiff_t outStride) {
  const __m512i flip = _mm512_set1_epi8((char)0x80);
  __m512i even[2], odd[2];
  UNROLL for (int t = 0; t < vectors; t++) even[t] = odd[t] = _mm512_setzero_si512();
  ptrdiff_t i = 0;
  for (; i + 128 <= stride; i += 128) {
    UNROLL for (int line = 0; line < 2; line++) _mm_prefetch((const char *)row + i + 8192 + 64 * line, _MM_HINT_T0);
    const __m512i x = _mm512_xor_si512(_mm512_loadu_si512(row + i), flip), z = _mm512_xor_si512(_mm512_loadu_si512(row + i + 64), flip);
    UNROLL for (int t = 0; t < vectors; t++) {
      even[t] = _mm512_dpbusd_epi32(even[t], x, _mm512_loadu_si512(codes + t * codeStride + i));
      odd[t] = _mm512_dpbusd_epi32(odd[t], z, _mm512_loadu_si512(codes + t * codeStride + i + 64));
    }
  }
  if (i < stride) {
    const __m512i x = _mm512_xor_si512(_mm512_loadu_si512(row + i), flip);
    UNROLL for (int t = 0; t < vectors; t++) even[t] = _mm512_dpbusd_epi32(even[t], x, _mm512_loadu_si512(codes + t * codeStride + i));
  }
  UNROLL for (int t = 0; t < vectors; t++)
    out[t * outStride] = (int32_t)((uint32_t)_mm512_reduce_add_epi32(_mm512_add_epi32(even[t], odd[t])) - 128u * (uint32_t)sums[t]);
}

static void KERNEL(rowProducts)(const int8_t *rows, ptrdiff_t stride, ptrdiff_t count, const int8_t *codes, ptrdiff_t codeStride,
                                const int32_t *sums, ptrdiff_t vectors, int32_t *out, ptrdiff_t outStride) {
  for (ptrdiff_t r = 0; r < count; r++, rows += stride)
    for (ptrdiff_t t = 0; t < vectors; t += 2) {
      const int8_t *c = codes + t * codeStride;
      int32_t *o = out + t * outStride + r;
      if (vectors - t == 1)
        oneRow(rows, stride, c, codeStride, sums + t, 1, o, outStride);
      else
        oneRow(rows, stride, c, codeStride, sums + t, 2, o, outStride);
    }
}

const TernaryKernels ternary_kernels_avx512 = KERNELS("avx512");

#pragma clang attribute pop
#endif
