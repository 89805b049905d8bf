// Kernels for x86-64 with AVX-512 and VNNI.
#include "CTernary.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)

#define KERNEL(name) name##_avx512
#include "canonical.inc"

// A 64-byte half of a tile is eight rows × two column halves: lanes 0-7 hold columns 0-15, lanes 8-15 columns 16-31.
// One register of activations serves two tiles; permutation [h][i] gives every lane the four activations that multiply
// elements 4i…4i+3 of tile h.
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

// Returns the codes (+ 2) of elements 4i…4i+3 of every word.
INLINE __m512i group(__m512i words, const int i) {
  return _mm512_and_si512(i ? _mm512_srli_epi32(words, 2 * i) : words, _mm512_set1_epi8(3));
}

// Accumulators for one token. The codes are not shifted within their bytes: groups scaled by 1, 4, 16 and 64 have
// separate accumulators, and only these are shifted, once at the end.
typedef struct {
  __m512i low[4], high[4];
} Scaled;

// Adds one tile's products with the activations `a` of this tile and its neighbour.
INLINE void tile(const char *p, const __m512i *permutations, __m512i a, Scaled *sums) {
  const __m512i x = _mm512_loadu_si512(p), z = _mm512_loadu_si512(p + 64);
  UNROLL for (int i = 0; i < 4; i++) {
    const __m512i mask = _mm512_set1_epi8((char)(3 << 2 * i)), y = _mm512_permutexvar_epi32(permutations[i], a);
    sums->low[i] = _mm512_dpbusd_epi32(sums->low[i], _mm512_and_si512(x, mask), y);
    sums->high[i] = _mm512_dpbusd_epi32(sums->high[i], _mm512_and_si512(z, mask), y);
  }
}

INLINE __m256i unscale(const __m512i *sums, __m256i bias) {
  __m512i sum = sums[0];
  UNROLL for (int i = 1; i < 4; i++) sum = _mm512_add_epi32(sum, _mm512_srai_epi32(sums[i], 2 * i));
  return _mm256_sub_epi32(_mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64(sum, 1)), bias);
}

// Multiplies 16 rows with one token. Reading one row of tiles at a time gives the hardware prefetchers the single
// sequential stream that they need. Software prefetches into L2 8 KiB ahead and into L1 only 1 KiB ahead, because L1
// has few fill buffers and a shorter distance occupies each more briefly.
INLINE void oneToken(const char *p, ptrdiff_t tilesPerRow, const Spread *s, const int8_t *codes, int32_t sum,
                     int32_t *out) {
  Scaled sums;
  UNROLL for (int i = 0; i < 4; i++) sums.low[i] = sums.high[i] = _mm512_setzero_si512();
  ptrdiff_t k = 0;
  for (; k + 2 <= tilesPerRow; k += 2, p += 256, codes += 64) {
    UNROLL for (int line = 0; line < 4; line++) {
      _mm_prefetch(p + 8192 + 64 * line, _MM_HINT_T1);
      _mm_prefetch(p + 1024 + 64 * line, _MM_HINT_T0);
    }
    const __m512i a = _mm512_loadu_si512(codes);
    tile(p, s->lanes[0], a, &sums);
    tile(p + 128, s->lanes[1], a, &sums);
  }
  if (k < tilesPerRow) tile(p, s->lanes[0], _mm512_loadu_si512(codes), &sums);
  const __m256i bias = _mm256_set1_epi32(2 * sum);  // codes are stored + 2
  _mm256_storeu_si256((__m256i *)out, unscale(sums.low, bias));
  _mm256_storeu_si256((__m256i *)(out + 8), unscale(sums.high, bias));
}

// Multiplies `tall` rows of tiles (1 or 2) with `count` tokens (at most 8). The halves of a tile are exchanged so that
// all sixteen lanes hold the same columns of different rows. Four activations are then a broadcast, which the load
// ports execute; a permutation would take one of the two ports that multiply. With two rows of tiles, each broadcast
// serves two products.
//
// Two rows of tiles are two streams, but software prefetches into L2 what follows in memory, 16 KiB ahead: the tiles
// arrive as one stream, in the order in which they are stored, while the products run.
INLINE void block(const char *p, ptrdiff_t tilesPerRow, const int tall, const int8_t *codes, ptrdiff_t codeStride,
                  const int32_t *sums, const int count, int32_t *out, ptrdiff_t outStride) {
  __m512i total[8][2];
  UNROLL for (int t = 0; t < count; t++)
    UNROLL for (int h = 0; h < tall; h++) total[t][h] = _mm512_set1_epi32(-2 * sums[t]);  // codes are stored + 2
  const ptrdiff_t rowBytes = tilesPerRow * 128;
  const char *ahead = p + 16384;
  for (ptrdiff_t k = 0; k < tilesPerRow; k++, p += 128, codes += 32, ahead += 128 * tall) {
    UNROLL for (int line = 0; line < 2 * tall; line++) _mm_prefetch(ahead + 64 * line, _MM_HINT_T1);
    __m512i half[2][2];
    UNROLL for (int h = 0; h < tall; h++) {
      const char *q = p + h * rowBytes;
      _mm_prefetch(q + 1024, _MM_HINT_T0);
      _mm_prefetch(q + 1088, _MM_HINT_T0);
      const __m512i x = _mm512_loadu_si512(q), z = _mm512_loadu_si512(q + 64);
      half[h][0] = _mm512_shuffle_i64x2(x, z, 0x44);
      half[h][1] = _mm512_shuffle_i64x2(x, z, 0xEE);
    }
    UNROLL for (int i = 0; i < 8; i++) {
      __m512i w[2];
      UNROLL for (int h = 0; h < tall; h++) w[h] = group(half[h][i / 4], i % 4);
      UNROLL for (int t = 0; t < count; t++) {
        int32_t four;
        memcpy(&four, codes + t * codeStride + 4 * i, 4);
        __m512i a = _mm512_set1_epi32(four);
        __asm__("" : "+v"(a));  // otherwise the compiler loads it again for each product
        UNROLL for (int h = 0; h < tall; h++) total[t][h] = _mm512_dpbusd_epi32(total[t][h], w[h], a);
      }
    }
  }
  UNROLL for (int t = 0; t < count; t++)
    UNROLL for (int h = 0; h < tall; h++) _mm512_storeu_si512(out + t * outStride + 16 * h, total[t][h]);
}

#define BLOCK(count)                                                                            \
  case count:                                                                                   \
    for (; n + 32 <= rows; n += 32, p += 2 * rowBytes)                                          \
      block(p, tilesPerRow, 2, codes, codeStride, sums, count, out + n, outStride);             \
    if (n < rows) block(p, tilesPerRow, 1, codes, codeStride, sums, count, out + n, outStride); \
    break;

static void
    KERNEL(multiply) (const void *tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows, const int8_t *codes,
                      ptrdiff_t codeStride, const int32_t *sums, ptrdiff_t tokens, int32_t *out, ptrdiff_t outStride) {
  const ptrdiff_t rowBytes = tilesPerRow * 128;
  // A tile adds at most 4 · 3 · 64 · 128 to a lane of the accumulator scaled by 64; 32 bits hold the sum of 21,845
  // tiles.
  if (tokens == 1 && tilesPerRow <= 21845) {
    const Spread s = spread();
    for (ptrdiff_t n = 0; n < rows; n += 16)
      oneToken((const char *)tiles + n / 16 * rowBytes, tilesPerRow, &s, codes, *sums, out + n);
    return;
  }
  // The tiles come from memory for the first eight tokens and from L2 for the others. The passes are of equal size,
  // because a pass with few tokens spends more on decoding.
  for (ptrdiff_t left = tokens, passes = (tokens + 7) / 8; left > 0; passes--) {
    const ptrdiff_t count = (left + passes - 1) / passes;
    const char *p = tiles;
    ptrdiff_t n = 0;
    switch (count) { BLOCK(1) BLOCK(2) BLOCK(3) BLOCK(4) BLOCK(5) BLOCK(6) BLOCK(7) BLOCK(8) }
    left -= count;
    codes += count * codeStride;
    sums += count;
    out += count * outStride;
  }
}

// Multiplies a panel of 16 rows with up to 16 vectors in one pass, so that the panels of a table are one stream. A
// register holds four columns of all rows; as in `block`, four codes are a broadcast. The row xor 0x80 is the row + 128,
// unsigned.
INLINE void panel(const int8_t *p, ptrdiff_t stride, const int8_t *codes, ptrdiff_t codeStride, const int32_t *sums,
                  const int vectors, int32_t *out, ptrdiff_t outStride) {
  // A product has a latency of four or five cycles and two can start per cycle: few vectors need several sums each.
  const int chains = vectors <= 4 ? 4 : vectors <= 8 ? 2 : 1;
  __m512i total[16][4];
  UNROLL for (int t = 0; t < vectors; t++) {
    total[t][0] = _mm512_set1_epi32((int32_t)(-128u * (uint32_t)sums[t]));
    UNROLL for (int c = 1; c < chains; c++) total[t][c] = _mm512_setzero_si512();
  }
  for (ptrdiff_t i = 0; i < stride; i += 16, p += 256) {
    UNROLL for (int line = 0; line < 4; line++) {
      _mm_prefetch((const char *)p + 8192 + 64 * line, _MM_HINT_T1);
      _mm_prefetch((const char *)p + 1024 + 64 * line, _MM_HINT_T0);
    }
    UNROLL for (int j = 0; j < 4; j++) {
      const __m512i x = _mm512_xor_si512(_mm512_loadu_si512(p + 64 * j), _mm512_set1_epi8((char)0x80));
      UNROLL for (int t = 0; t < vectors; t++) {
        int32_t four;
        memcpy(&four, codes + t * codeStride + i + 4 * j, 4);
        __m512i *sum = &total[t][j % chains];
        *sum = _mm512_dpbusd_epi32(*sum, x, _mm512_set1_epi32(four));
      }
    }
  }
  UNROLL for (int t = 0; t < vectors; t++) {
    UNROLL for (int c = 1; c < chains; c++) total[t][0] = _mm512_add_epi32(total[t][0], total[t][c]);
    _mm512_storeu_si512(out + t * outStride, total[t][0]);
  }
}

#define PANELS(count)                                                                                \
  case count:                                                                                        \
    for (ptrdiff_t r = 0; r < rows; r += 16)                                                         \
      panel(panels + r * stride, stride, codes, codeStride, sums, count, out + r, outStride);        \
    break;

static void KERNEL(panelProducts) (const int8_t *panels, ptrdiff_t stride, ptrdiff_t rows, const int8_t *codes,
                                   ptrdiff_t codeStride, const int32_t *sums, ptrdiff_t vectors, int32_t *out,
                                   ptrdiff_t outStride) {
  for (ptrdiff_t left = vectors, passes = (vectors + 15) / 16; left > 0; passes--) {
    const ptrdiff_t count = (left + passes - 1) / passes;
    switch (count) {
      PANELS(1) PANELS(2) PANELS(3) PANELS(4) PANELS(5) PANELS(6) PANELS(7) PANELS(8)
      PANELS(9) PANELS(10) PANELS(11) PANELS(12) PANELS(13) PANELS(14) PANELS(15) PANELS(16)
    }
    left -= count;
    codes += count * codeStride;
    sums += count;
    out += count * outStride;
  }
}

const TernaryKernels ternary_kernels_avx512 = KERNELS("avx512");

#pragma clang attribute pop
#endif
