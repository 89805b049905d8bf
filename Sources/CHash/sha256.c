#include "CHash.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

__attribute__((target("sha,sse4.1"))) static void shaExtensions(uint32_t *words, const uint8_t *blocks, size_t count,
                                                                const uint32_t *constants) {
  const __m128i swap = _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203);
  // The instructions want the words as ABEF and CDGH, the first of them at the top.
  const __m128i low = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)words), 0xB1),
                high = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(words + 4)), 0x1B);
  __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xF0);
  for (size_t block = 0; block < count; block++) {
    const __m128i firstABEF = abef, firstCDGH = cdgh;
    __m128i schedule[4];
#pragma clang loop unroll(full)
    for (int i = 0; i < 16; i++) {
      if (i < 4) {
        schedule[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(blocks + 64 * block + 16 * i)), swap);
      } else {
        const __m128i last = schedule[(i + 3) % 4];
        const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(schedule[i % 4], schedule[(i + 1) % 4]),
                                          _mm_alignr_epi8(last, schedule[(i + 2) % 4], 4));
        schedule[i % 4] = _mm_sha256msg2_epu32(sum, last);
      }
      const __m128i added =
          _mm_add_epi32(schedule[i % 4], _mm_loadu_si128((const __m128i *)(constants + 4 * i)));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, added);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(added, 0x0E));
    }
    abef = _mm_add_epi32(abef, firstABEF);
    cdgh = _mm_add_epi32(cdgh, firstCDGH);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128((__m128i *)words, _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128((__m128i *)(words + 4), _mm_alignr_epi8(dchg, feba, 8));
}

HashBlocks hash_sha256_blocks(void) {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1)) return NULL;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) ? shaExtensions : NULL;
}
#else
HashBlocks hash_sha256_blocks(void) { return NULL; }
#endif
