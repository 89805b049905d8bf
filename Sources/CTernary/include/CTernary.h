// The CPU kernels: ternary products and canonical float arithmetic for each instruction set, selected at run time.
//
// Every function returns the same bits in every instruction set; the Float ReferenceEngine (Sources/Inference) is the
// specification. Buffers named `codes` are int8 activations padded with zeros to a multiple of 64 bytes; float rows
// need no padding.
#ifndef CTERNARY_H
#define CTERNARY_H

#include <stddef.h>
#include <stdint.h>

/// The screened head's data about a row or token that is quantised as step · codes; norms are Euclidean, rounded up.
typedef struct CTernaryScreenNorms {
  float step;
  /// The norm of the quantised row, or of the exact token.
  float norm;
  /// The norm of the difference between exact and quantised values.
  float error;
} CTernaryScreenNorms;

typedef struct TernaryKernels {
  /// The instruction set's name, as in the command's flag and BITNET_INSTRUCTION_SET.
  const char *_Nonnull name;

  /// Sets out[t * outStride + n] to the exact product of row n with token t, for `rows` rows (a multiple of 16).
  /// tiles: [rows/16][tilesPerRow] tiles of 128 bytes; codes: [tokens][codeStride]; sums[t]: the sum of token t's
  /// codes.
  void (*_Nonnull multiply)(const void *_Nonnull tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows,
                            const int8_t *_Nonnull codes, ptrdiff_t codeStride, const int32_t *_Nonnull sums,
                            ptrdiff_t tokens, int32_t *_Nonnull out, ptrdiff_t outStride);

  /// Applies RMSNorm (skipped when weight is NULL) and absmax quantisation to one token: writes n codes, clears up to
  /// the next multiple of 64, stores the codes' sum and returns the activation scale. scratch: n floats.
  float (*_Nonnull normalizeAndQuantize)(const float *_Nonnull x, const float *_Nullable weight, float epsilon,
                                         ptrdiff_t n, float *_Nonnull scratch, int8_t *_Nonnull codes,
                                         int32_t *_Nonnull sum);

  /// Sets out to RMSNorm(x) * weight.
  void (*_Nonnull normalize)(const float *_Nonnull x, const float *_Nonnull weight, float epsilon, ptrdiff_t n,
                             float *_Nonnull out);

  /// Sets out[i] to dots[i] * factor.
  void (*_Nonnull dequantize)(const int32_t *_Nonnull dots, float factor, ptrdiff_t n, float *_Nonnull out);

  /// Adds dots[i] * factor to x[i], rounding twice.
  void (*_Nonnull dequantizeAndAdd)(const int32_t *_Nonnull dots, float factor, ptrdiff_t n, float *_Nonnull x);

  /// Sets x[i] to fma(y[i], scale, x[i]).
  void (*_Nonnull addScaled)(const float *_Nonnull y, float scale, ptrdiff_t n, float *_Nonnull x);

  /// Sets out[i] to act(gate[i] * gateFactor) * (up[i] * upFactor); activation: 0 squared ReLU, 1 SiLU, 2 GELU with
  /// the tanh approximation.
  void (*_Nonnull gate)(const int32_t *_Nonnull gate, float gateFactor, const int32_t *_Nonnull up, float upFactor,
                        int activation, ptrdiff_t n, float *_Nonnull out);

  /// Applies the rotary embedding in place to heads of 2 * pairs elements; cosines and sines hold one position's
  /// `pairs` values.
  void (*_Nonnull rotate)(float *_Nonnull x, ptrdiff_t heads, ptrdiff_t pairs, const float *_Nonnull cosines,
                          const float *_Nonnull sines);

  /// Stores a key and a value of `size` elements in bfloat16. keys: where the key's first element belongs, the others
  /// follow 16 elements apart; values: where the value belongs.
  void (*_Nonnull storeKeyValue)(const float *_Nonnull key, const float *_Nonnull value, ptrdiff_t size,
                                 uint16_t *_Nonnull keys, uint16_t *_Nonnull values);

  /// Computes the attention of `group` (at most 8) query heads that share a key/value head to the first `count`
  /// positions of one chunk of 64. queries: [group][size]; keys: bfloat16, [4][size][16 positions]; values: bfloat16,
  /// [64][paddedSize], paddedSize = size rounded up to 32; partial: CTERNARY_PARTIAL(paddedSize) floats. next: the
  /// address that will be read after this chunk, to prefetch; any address is allowed.
  void (*_Nonnull attendChunk)(const float *_Nonnull queries, ptrdiff_t group, ptrdiff_t size,
                               const uint16_t *_Nonnull keys, const uint16_t *_Nonnull values,
                               const uint16_t *_Nonnull next, ptrdiff_t count, float scale, float *_Nonnull partial);

  /// Computes what attendChunk does, with attention to positions `first` (0 to count - 1) and later alone.
  void (*_Nonnull attendWindow)(const float *_Nonnull queries, ptrdiff_t group, ptrdiff_t size,
                                const uint16_t *_Nonnull keys, const uint16_t *_Nonnull values,
                                const uint16_t *_Nonnull next, ptrdiff_t first, ptrdiff_t count, float scale,
                                float *_Nonnull partial);

  /// Adds a chunk's partial to that of all chunks before it.
  void (*_Nonnull mergeChunk)(float *_Nonnull running, const float *_Nonnull partial, ptrdiff_t group, ptrdiff_t size);

  /// Computes the attention of query heads first ..< first + heads of a group, [heads][size], from the partials of all
  /// chunks, in ascending order and `stride` floats apart. Overwrites these heads' part of the first partial.
  void (*_Nonnull combine)(float *_Nonnull partials, ptrdiff_t stride, ptrdiff_t chunks, ptrdiff_t first,
                           ptrdiff_t heads, ptrdiff_t size, float *_Nonnull out);

  /// Sets out[t * outStride + r] to row r of a bfloat16 matrix [rows][columns] times the vector at x + t * xStride.
  /// next: the row that will be read after these, to prefetch; any address is allowed.
  void (*_Nonnull head)(const uint16_t *_Nonnull matrix, ptrdiff_t columns, ptrdiff_t rows, const uint16_t *_Nonnull next,
                        const float *_Nonnull x, ptrdiff_t xStride, ptrdiff_t tokens, float *_Nonnull out,
                        ptrdiff_t outStride);

  /// Sets weights[i] to trunc(e^(logits[i] - largest) · 2^40), 0 for a NaN, and returns the sum of them. largest: at
  /// least as large as all logits that are numbers; weights: NULL if only the sum is wanted.
  uint64_t (*_Nonnull tokenWeights)(const float *_Nonnull logits, ptrdiff_t n, float largest, uint64_t *_Nullable weights);

  /// Sets indices to those of values that are `least` or more, ascending, and returns how many they are. indices has
  /// room for n, rounded up to a multiple of 16; what is there after the returned count has no meaning.
  ptrdiff_t (*_Nonnull indicesFrom)(const float *_Nonnull values, ptrdiff_t n, float least, int32_t *_Nonnull indices);

  /// Sets out[t * outStride + r] to the exact product of int8 row r with vector t, for `rows` rows (a multiple of 16)
  /// of `stride` columns (a multiple of 64, zeros after the row's end). panels: [rows/16][stride/4][16 rows][4 columns].
  /// Rows must not contain -128, and stride is at most 131,072, so that 32 bits hold the products. codes:
  /// [vectors][codeStride], codeStride at least stride; sums[t]: the sum of vector t's codes.
  void (*_Nonnull panelProducts)(const int8_t *_Nonnull panels, ptrdiff_t stride, ptrdiff_t rows,
                                 const int8_t *_Nonnull codes, ptrdiff_t codeStride, const int32_t *_Nonnull sums,
                                 ptrdiff_t vectors, int32_t *_Nonnull out, ptrdiff_t outStride);

  /// Quantises one bfloat16 row of n elements to int8 codes (±127), followed by zeros up to stride (n rounded up to a
  /// multiple of 64).
  CTernaryScreenNorms (*_Nonnull screenRow)(const uint16_t *_Nonnull row, ptrdiff_t n, ptrdiff_t stride,
                                            int8_t *_Nonnull codes);

  /// Quantises one token to sixteen bits, 256 · high + low, both int8, followed by zeros up to stride. sums: the sums
  /// of high and of low.
  CTernaryScreenNorms (*_Nonnull screenToken)(const float *_Nonnull x, ptrdiff_t n, ptrdiff_t stride,
                                              int8_t *_Nonnull high, int8_t *_Nonnull low, int32_t *_Nonnull sums);

  /// Sets upper[r] to an upper bound of the logit that `head` computes for row r and the token, from their exact
  /// products; NaN where there is no bound. Returns the largest lower bound. steps, norms, errors: the rows' norms;
  /// count: a multiple of 16; n: elements of a row.
  float (*_Nonnull screenBounds)(const float *_Nonnull steps, const float *_Nonnull norms, const float *_Nonnull errors,
                                 ptrdiff_t count, CTernaryScreenNorms token, ptrdiff_t n, const int32_t *_Nonnull high,
                                 const int32_t *_Nonnull low, float *_Nonnull upper);

  /// Sets above[c] to how many of `count` (a multiple of 16) upper bounds are not below cuts[c], and below[c] to the sum
  /// of e^((upper[r] - largest) · inverse) over those that are, within 2^-10 of it.
  void (*_Nonnull screenTails)(const float *_Nonnull upper, ptrdiff_t count, float largest, float inverse,
                               const float *_Nonnull cuts, int32_t *_Nonnull above, float *_Nonnull below);
} TernaryKernels;

#define CTERNARY_CHUNK 64
/// The cuts that screenTails tries.
#define CTERNARY_CUTS 8
#define CTERNARY_MAX_GROUP 8
/// The most columns of a head's row that is multiplied with sixteen tokens in a vector.
#define CTERNARY_TURNED_COLUMNS 1024
#define CTERNARY_PARTIAL(paddedSize) (CTERNARY_MAX_GROUP * (2 + (paddedSize)))

/// Returns the instruction sets that this build supports and this machine has, best first; NULL ends the list.
const TernaryKernels *_Nullable const *_Nonnull ternary_kernels_available(void);

/// Gets or sets the processors that the calling thread may run on, one bit each, starting at the first byte's lowest
/// bit; byteCount: a multiple of 8. Returns whether that worked; it never does on systems without thread affinity.
int ternary_get_affinity(void *_Nonnull set, size_t byteCount);
int ternary_set_affinity(const void *_Nonnull set, size_t byteCount);

/// Reads memory as fast as a plain loop does and returns the exclusive or of its words. count: bytes, a multiple of 64.
uint64_t ternary_read(const void *_Nonnull bytes, size_t count);

/// Prefetches memory into the second-level cache without waiting for it. Addresses need not be readable.
static inline void ternary_fetch(const void *_Nonnull bytes, ptrdiff_t count) {
  for (ptrdiff_t i = 0; i < count; i += 64) __builtin_prefetch((const char *)bytes + i, 0, 2);
}

/// Prefetches memory that will be written. Addresses need not be writable.
static inline void ternary_fetch_to_write(const void *_Nonnull bytes, ptrdiff_t count) {
  for (ptrdiff_t i = 0; i < count; i += 64) __builtin_prefetch((const char *)bytes + i, 1, 3);
}

/// Tells the processor that the caller is spinning.
static inline void ternary_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#endif
