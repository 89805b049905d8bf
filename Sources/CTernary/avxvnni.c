// Kernels for x86-64 with AVX2 and AVX-VNNI, which has AVX-512's byte products in 32-byte registers.
#include "CTernary.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2,avxvnni"))), apply_to = function)

#define KERNEL(name) name##_avxvnni
#define TURNED_ROWS 2
#define TURNED_PARTS 2
#define TURNED_TOKENS(padded) (6 + (padded) / 256)
#define IN_ORDER(value) __asm__ volatile("" : "+x"(value))
#include "canonical.inc"

// A product has a latency of five cycles and two can start per cycle, so ten sums keep the units busy. One or two
// tokens use 8 (with two sums per token and eight rows, one token ran at half the speed from L2), three use 12, more
// use at least 8. The largest terms are 192·128; a tile adds 8 to a lane, and 2^31 holds the sum of 10,922 tiles.
#define SCALES(tokens) ((tokens) == 1 ? 4 : (tokens) <= 3 ? 2 : 1)
#define TILES(scales) 8192

INLINE __m256i add(__m256i sum, __m256i u, __m256i y) { return _mm256_dpbusd_avx_epi32(sum, u, y); }
INLINE __m256i plusQuarter(__m256i sum, __m256i fours) { return _mm256_add_epi32(sum, _mm256_srai_epi32(fours, 2)); }
INLINE __m256i widen(__m256i sum) { return sum; }

// The row xor 0x80 is the row + 128, unsigned.
#define ROW_BIAS 128u
INLINE __m256i addRow(__m256i sum, __m256i w, __m256i y) {
  return add(sum, _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80)), y);
}

#include "avx2.inc"

static void
    KERNEL(multiply) (const void *tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows, const int8_t *codes,
                      ptrdiff_t codeStride, const int32_t *sums, ptrdiff_t tokens, int32_t *out, ptrdiff_t outStride) {
  const char *p = tiles;
  for (ptrdiff_t n = 0; n < rows; n += 16, out += 16, p += tilesPerRow * 128) {
    start(sums, tokens, out, outStride);
    // A row of tiles is read from memory for the first six tokens and from L1 for the others.
    for (ptrdiff_t t = 0; t < tokens; t += 6) {
      const int8_t *c = codes + t * codeStride;
      int32_t *o = out + t * outStride;
      switch (tokens - t) {
        case 1: addTiles(p, 0, tilesPerRow, c, codeStride, 1, o, outStride); break;
        case 2: addTiles(p, 0, tilesPerRow, c, codeStride, 2, o, outStride); break;
        case 3: addTiles(p, 0, tilesPerRow, c, codeStride, 3, o, outStride); break;
        case 4: addTiles(p, 0, tilesPerRow, c, codeStride, 4, o, outStride); break;
        case 5: addTiles(p, 0, tilesPerRow, c, codeStride, 5, o, outStride); break;
        default: addTiles(p, 0, tilesPerRow, c, codeStride, 6, o, outStride);
      }
    }
  }
}

const TernaryKernels ternary_kernels_avxvnni = KERNELS("avxvnni");

#pragma clang attribute pop
#endif
