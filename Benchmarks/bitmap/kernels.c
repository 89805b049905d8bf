// Products of bitmap storage with one token, with AVX-512.
#include "bitmap.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

#pragma clang attribute push(                                                                                        \
    __attribute__((target(                                                                                           \
        "bmi,bmi2,popcnt,avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx512vbmi2,avx512vpopcntdq"))),            \
    apply_to = function)

INLINE uint64_t load64(const void *p) {
  uint64_t value;
  memcpy(&value, p, 8);
  return value;
}

INLINE __m512i broadcast32(const void *p) {
  int32_t value;
  memcpy(&value, p, 4);
  return _mm512_set1_epi32(value);
}

// Prefetches one block's share of both streams, into L2 far ahead and into L1 near, like the engine's tile kernel.
INLINE void prefetch(const uint8_t *bitmap, const uint8_t *signs) {
  _mm_prefetch(bitmap + 8192, _MM_HINT_T1);
  _mm_prefetch(signs + 5120, _MM_HINT_T1);
  _mm_prefetch(bitmap + 2048, _MM_HINT_T0);
  _mm_prefetch(signs + 1280, _MM_HINT_T0);
}

// Returns where the signs of a word end, if each word's signs start with a byte.
INLINE const uint8_t *after(const uint8_t *signs, uint64_t word) {
  return signs + ((uint64_t)_mm_popcnt_u64(word) + 7) / 8;
}

// Blocks of 16 rows × 32 columns. A deposit spreads a word's signs over its non-zeros, which makes the bitmap of the
// positive weights; both bitmaps together make two-bit codes + 1, which are multiplied in place like the tile's. A
// block goes through three steps, `distance` blocks apart, because each step's stores must have reached L1 before the
// next step loads them in another width.
enum { distance = 8 };

// Step 1: Brings the signs of a block's eight words to bit 0 of eight lanes. Returns where the signs end.
INLINE const uint8_t *align(const uint8_t *bitmap, const uint8_t *signs, uint64_t *aligned) {
  const __m512i counts = _mm512_popcnt_epi64(_mm512_loadu_si512(bitmap));
  // Lane w adds the counts of words 0 … w-1; lane 0, whose signs start at bit 0, adds all of them instead.
  const __m512i starts = _mm512_sad_epu8(
      _mm512_maskz_permutexvar_epi8(0x7F3F1F0F070301FF, _mm512_set1_epi64(0x3830282018100800), counts),
      _mm512_setzero_si512());
  const uint64_t all = (uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(starts));
  // Each lane takes the 16 bytes from its first one on and shifts out the signs before its own.
  const int64_t low = 0, high = 0x0808080808080808, none = -1;
  const __m512i byte = _mm512_shuffle_epi8(_mm512_srli_epi64(starts, 3),
                                           _mm512_set_epi64(high, low, high, low, high, low, high, none));
  const __m512i run = _mm512_loadu_si512(signs),
                x = _mm512_permutexvar_epi8(_mm512_add_epi8(byte, _mm512_set1_epi64(0x0706050403020100)), run),
                z = _mm512_permutexvar_epi8(_mm512_add_epi8(byte, _mm512_set1_epi64(0x0F0E0D0C0B0A0908)), run),
                shift = _mm512_and_si512(starts, _mm512_set_epi64(7, 7, 7, 7, 7, 7, 7, 0));
  _mm512_store_si512(aligned, _mm512_shrdv_epi64(x, z, shift));
  return signs + (all + 7) / 8;
}

// Step 2.
INLINE void deposit(const uint8_t *bitmap, const uint64_t *aligned, uint64_t *positives) {
  UNROLL for (int w = 0; w < 8; w++) positives[w] = _pdep_u64(aligned[w], load64(bitmap + 8 * w));
}

// Step 3. Group i of the codes is 4^i times too large; `total` corrects that.
INLINE void multiply(const uint8_t *bitmap, const uint64_t *positives, const int8_t *codes, __m512i *sums) {
  const __m512i bits = _mm512_loadu_si512(bitmap), plus = _mm512_load_si512(positives),
                select = _mm512_set1_epi8(0x55);
  enum { notBitsOrPlus = 0x4E };  // select ? ~bits : plus
  const __m512i even = _mm512_ternarylogic_epi64(bits, _mm512_add_epi8(plus, plus), select, notBitsOrPlus),
                odd = _mm512_ternarylogic_epi64(_mm512_srli_epi64(bits, 1), plus, select, notBitsOrPlus);
  UNROLL for (int i = 0; i < 4; i++) {
    const __m512i mask = _mm512_set1_epi8((char)(3 << 2 * i));
    sums[i] = _mm512_dpbusd_epi32(sums[i], _mm512_and_si512(even, mask), broadcast32(codes + 8 * i));
    sums[4 + i] = _mm512_dpbusd_epi32(sums[4 + i], _mm512_and_si512(odd, mask), broadcast32(codes + 8 * i + 4));
  }
}

INLINE __m512i total(const __m512i *sums, int32_t sum) {
  __m512i result = _mm512_set1_epi32(-sum);  // codes + 1
  UNROLL for (int i = 0; i < 4; i++) result =
      _mm512_add_epi32(result, _mm512_srai_epi32(_mm512_add_epi32(sums[i], sums[4 + i]), 2 * i));
  return result;
}

static void deposits(const uint8_t *bitmap, const uint8_t *signs, ptrdiff_t groups, ptrdiff_t blocks,
                     const int8_t *codes, int32_t sum, int32_t *out) {
  _Alignas(64) uint64_t aligned[distance][8], positives[distance][8];
  for (int b = 0; b < distance; b++) signs = align(bitmap + 64 * b, signs, aligned[b]);
  for (int b = 0; b < distance; b++) {
    deposit(bitmap + 64 * b, aligned[b], positives[b]);
    signs = align(bitmap + 64 * (b + distance), signs, aligned[b]);
  }
  // Steps 1 and 2 run into the next group, and after the last group into the bytes that follow.
  ptrdiff_t slot = 0;
  for (; groups > 0; groups--, out += 16) {
    __m512i sums[8];
    UNROLL for (int i = 0; i < 8; i++) sums[i] = _mm512_setzero_si512();
    for (ptrdiff_t b = 0; b < blocks; b++, bitmap += 64, slot = (slot + 1) % distance) {
      prefetch(bitmap + 64 * 2 * distance, signs);
      multiply(bitmap, positives[slot], codes + 32 * b, sums);
      deposit(bitmap + 64 * distance, aligned[slot], positives[slot]);
      signs = align(bitmap + 64 * 2 * distance, signs, aligned[slot]);
    }
    _mm512_storeu_si512(out, total(sums, sum));
  }
}

// The same with scalar instead of vector bookkeeping.
INLINE const uint8_t *depositBytes(const uint8_t *bitmap, const uint8_t *signs, uint64_t *positives) {
  UNROLL for (int w = 0; w < 8; w++) {
    const uint64_t word = load64(bitmap + 8 * w);
    positives[w] = _pdep_u64(load64(signs), word);
    signs = after(signs, word);
  }
  return signs;
}

static void scalar(const uint8_t *bitmap, const uint8_t *signs, ptrdiff_t groups, ptrdiff_t blocks,
                   const int8_t *codes, int32_t sum, int32_t *out) {
  _Alignas(64) uint64_t positives[distance][8];
  for (int b = 0; b < distance; b++) signs = depositBytes(bitmap + 64 * b, signs, positives[b]);
  ptrdiff_t slot = 0;
  for (; groups > 0; groups--, out += 16) {
    __m512i sums[8];
    UNROLL for (int i = 0; i < 8; i++) sums[i] = _mm512_setzero_si512();
    for (ptrdiff_t b = 0; b < blocks; b++, bitmap += 64, slot = (slot + 1) % distance) {
      prefetch(bitmap + 64 * distance, signs);
      multiply(bitmap, positives[slot], codes + 32 * b, sums);
      signs = depositBytes(bitmap + 64 * distance, signs, positives[slot]);
    }
    _mm512_storeu_si512(out, total(sums, sum));
  }
}

// The other variants make bytes of one row's 64 columns at a time; eight rows share a register of activations.
typedef enum { masks, expand, compress } Method;

INLINE void rowsOf64(const uint8_t *bitmap, const uint8_t *signs, ptrdiff_t groups, ptrdiff_t blocks,
                     const int8_t *codes, int32_t sum, int32_t *out, const Method method) {
  const __m512i zero = _mm512_setzero_si512(), one = _mm512_set1_epi8(1), two = _mm512_set1_epi8(2);
  for (; groups > 0; groups--, out += 8) {
    __m512i sums[8], nonzeros[8];
    UNROLL for (int r = 0; r < 8; r++) sums[r] = nonzeros[r] = zero;
    for (ptrdiff_t b = 0; b < blocks; b++, bitmap += 64) {
      prefetch(bitmap, signs);
      const __m512i a = _mm512_loadu_si512(codes + 64 * b);
      UNROLL for (int r = 0; r < 8; r++) {
        const uint64_t word = load64(bitmap + 8 * r), run = load64(signs);
        signs = after(signs, word);
        if (method == masks) {
          const __m512i w = _mm512_mask_mov_epi8(_mm512_mask_blend_epi8(word, one, zero), _pdep_u64(run, word), two);
          sums[r] = _mm512_dpbusd_epi32(sums[r], w, a);
        } else if (method == expand) {
          const __m512i w = _mm512_mask_expand_epi8(one, word, _mm512_maskz_mov_epi8(run, two));
          sums[r] = _mm512_dpbusd_epi32(sums[r], w, a);
        } else {
          const __m512i x = _mm512_maskz_compress_epi8(word, a);
          sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_maskz_mov_epi8(run, two), x);
          nonzeros[r] = _mm512_dpbusd_epi32(nonzeros[r], one, x);
        }
      }
    }
    // masks and expand multiply codes + 1; compress subtracts the sum of the non-zeros from twice the positives'.
    UNROLL for (int r = 0; r < 8; r++) out[r] = method == compress
        ? _mm512_reduce_add_epi32(_mm512_sub_epi32(sums[r], nonzeros[r]))
        : _mm512_reduce_add_epi32(sums[r]) - sum;
  }
}

#define ROWS_OF_64(method)                                                                                       \
  static void method##64(const uint8_t *bitmap, const uint8_t *signs, ptrdiff_t groups, ptrdiff_t blocks,        \
                         const int8_t *codes, int32_t sum, int32_t *out) {                                       \
    rowsOf64(bitmap, signs, groups, blocks, codes, sum, out, method);                                            \
  }

ROWS_OF_64(masks)
ROWS_OF_64(expand)
ROWS_OF_64(compress)

const Variant variants[] = {
    {"deposits", 16, 32, 8, deposits},    {"scalar", 16, 32, 1, scalar},
    {"masks", 8, 64, 1, masks64},         {"expand", 8, 64, 1, expand64},
    {"compress", 8, 64, 1, compress64},   {0},
};

#pragma clang attribute pop
