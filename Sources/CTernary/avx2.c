// Kernels for x86-64 with AVX2 and FMA.
#include "CTernary.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)

#define KERNEL(name) name##_avx2
#include "canonical.inc"

// 32 bytes of a tile are eight rows × 16 columns; element group i of all rows is `(bytes >> 2i) & 3`, met by the same four activations.
// A byte product is at most 3·128, pairs are added in 16 bits, and eight pairs (one tile's width) stay below 2^13.
INLINE __m256i eightRows(__m256i left, __m256i right, const int8_t *a) {
  const __m256i three = _mm256_set1_epi8(3);
  __m256i sum = _mm256_setzero_si256();
  for (int i = 0; i < 4; i++) {
    int32_t x, y;
    memcpy(&x, a + 4 * i, 4);
    memcpy(&y, a + 16 + 4 * i, 4);
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi32(left, 2 * i), three), _mm256_set1_epi32(x)));
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi32(right, 2 * i), three), _mm256_set1_epi32(y)));
  }
  return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

static void KERNEL(multiply)(const void *tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows, const int8_t *codes, ptrdiff_t codeStride,
                             const int32_t *sums, ptrdiff_t tokens, int32_t *out, ptrdiff_t outStride) {
  for (ptrdiff_t n = 0; n < rows; n += 16) {
    for (ptrdiff_t t = 0; t < tokens; t++) {
      const __m256i *p = (const __m256i *)((const char *)tiles + n / 16 * tilesPerRow * 128);
      const int8_t *a = codes + t * codeStride;
      __m256i low = _mm256_set1_epi32(-2 * sums[t]), high = low;  // codes are stored + 2
      for (ptrdiff_t k = 0; k < tilesPerRow; k++, p += 4, a += 32) {
        _mm_prefetch((const char *)p + 4096, _MM_HINT_T0);
        _mm_prefetch((const char *)p + 4160, _MM_HINT_T0);
        low = _mm256_add_epi32(low, eightRows(_mm256_loadu_si256(p), _mm256_loadu_si256(p + 1), a));
        high = _mm256_add_epi32(high, eightRows(_mm256_loadu_si256(p + 2), _mm256_loadu_si256(p + 3), a));
      }
      _mm256_storeu_si256((__m256i *)(out + t * outStride + n), low);
      _mm256_storeu_si256((__m256i *)(out + t * outStride + n + 8), high);
    }
  }
}

// |code| · (row with the code's sign): a pair of products is at most 2·128·127, which 16 bits hold. (A code may be -128, a row not.)
static void KERNEL(rowProducts)(const int8_t *rows, ptrdiff_t stride, ptrdiff_t count, const int8_t *codes, ptrdiff_t codeStride,
                                const int32_t *sums, ptrdiff_t vectors, int32_t *out, ptrdiff_t outStride) {
  (void)sums;  // only unsigned rows need them
  const __m256i one = _mm256_set1_epi16(1);
  for (ptrdiff_t r = 0; r < count; r++, rows += stride)
    for (ptrdiff_t t = 0; t < vectors; t++) {
      const int8_t *a = codes + t * codeStride;
      __m256i sum = _mm256_setzero_si256();
      for (ptrdiff_t i = 0; i < stride; i += 32) {
        const __m256i w = _mm256_loadu_si256((const __m256i *)(rows + i)), y = _mm256_loadu_si256((const __m256i *)(a + i));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(y), _mm256_sign_epi8(w, y)), one));
      }
      const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
      const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
      out[t * outStride + r] = _mm_cvtsi128_si32(two) + _mm_extract_epi32(two, 1);
    }
}

const TernaryKernels ternary_kernels_avx2 = KERNELS("avx2");

#pragma clang attribute pop
#endif
