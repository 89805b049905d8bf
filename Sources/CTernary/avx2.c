// Kernels for x86-64 with AVX2 and FMA.
#include "CTernary.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)

#define KERNEL(name) name##_avx2
#define TURNED_ROWS 2
#define TURNED_PARTS 2
#define TURNED_TOKENS(padded) (6 + (padded) / 256)
#define IN_ORDER(value) __asm__ volatile("" : "+x"(value))
#include "canonical.inc"

// A 16-bit lane accumulates pairs of products. A field times an activation is at most 3·128, so a lane has room for 42
// pairs of fields times 1, or 10 pairs of fields times 4. A tile adds 8 pairs, or 4 of each kind with two scales.
#define SCALES(tokens) ((tokens) == 1 ? 2 : 1)
#define TILES(scales) ((scales) == 1 ? 5 : 2)

INLINE __m256i add(__m256i sum, __m256i u, __m256i y) { return _mm256_add_epi16(sum, _mm256_maddubs_epi16(u, y)); }
INLINE __m256i plusQuarter(__m256i sum, __m256i fours) { return _mm256_add_epi16(sum, _mm256_srai_epi16(fours, 2)); }
INLINE __m256i widen(__m256i sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }

// The products are |y| · (w with y's sign). A pair of them is at most 2·128·127, which fits in 16 bits. (A code may be
// -128; a row element may not.)
#define ROW_BIAS 0u
INLINE __m256i addRow(__m256i sum, __m256i w, __m256i y) {
  return _mm256_add_epi32(sum, widen(_mm256_maddubs_epi16(_mm256_abs_epi8(y), _mm256_sign_epi8(w, y))));
}

#include "avx2.inc"

// Decodes tiles of 16 rows to their fields, 16 registers a tile, for use with many tokens.
INLINE void decode(const char *p, ptrdiff_t tiles, __m256i *decoded) {
  for (ptrdiff_t k = 0; k < tiles; k++, p += 128) {
    prefetch(p, 2);
    UNROLL for (int i = 0; i < 8; i++)
      UNROLL for (int h = 0; h < 2; h++) *decoded++ = fields(load(p + 64 * h + 32 * (i / 4)), i % 4, 1);
  }
}

// Adds the products with at most the first four of `tokens` tokens.
INLINE void addFour(const char *p, const int isDecoded, ptrdiff_t tiles, const int8_t *codes, ptrdiff_t codeStride,
                    ptrdiff_t tokens, int32_t *out, ptrdiff_t outStride) {
  switch (tokens) {
    case 1: addTiles(p, isDecoded, tiles, codes, codeStride, 1, out, outStride); break;
    case 2: addTiles(p, isDecoded, tiles, codes, codeStride, 2, out, outStride); break;
    case 3: addTiles(p, isDecoded, tiles, codes, codeStride, 3, out, outStride); break;
    default: addTiles(p, isDecoded, tiles, codes, codeStride, 4, out, outStride);
  }
}

static void
    KERNEL(multiply) (const void *tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows, const int8_t *codes,
                      ptrdiff_t codeStride, const int32_t *sums, ptrdiff_t tokens, int32_t *out, ptrdiff_t outStride) {
  enum { BLOCK = 10 };  // tiles decoded at a time: 5 KB, which stays in L1
  __m256i decoded[16 * BLOCK];
  const char *p = tiles;
  for (ptrdiff_t n = 0; n < rows; n += 16, out += 16, p += tilesPerRow * 128) {
    start(sums, tokens, out, outStride);
    if (tokens <= 12) {
      for (ptrdiff_t t = 0; t < tokens; t += 4)
        addFour(p, 0, tilesPerRow, codes + t * codeStride, codeStride, tokens - t, out + t * outStride, outStride);
      continue;
    }
    // Decode once for all tokens: up to 15 % faster than the path above from 16 tokens on, as much slower for eight.
    for (ptrdiff_t k = 0; k < tilesPerRow; k += BLOCK) {
      const ptrdiff_t count = tilesPerRow - k < BLOCK ? tilesPerRow - k : BLOCK;
      decode(p + k * 128, count, decoded);
      for (ptrdiff_t t = 0; t < tokens; t += 4)
        addFour((const char *)decoded, 1, count, codes + t * codeStride + 32 * k, codeStride, tokens - t,
                out + t * outStride, outStride);
    }
  }
}

const TernaryKernels ternary_kernels_avx2 = KERNELS("avx2");

#pragma clang attribute pop
#endif
