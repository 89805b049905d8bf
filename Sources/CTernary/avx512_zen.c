// Kernels for AMD's processors with AVX-512 and VNNI, except for Zen 4. They are those of avx512.c with other prefetches:
// with the two steps that suit Intel's processors, one token's stream reaches 83 % of a Zen 5 core's bandwidth, with one
// step into L1 all of it.
#include "CTernary.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)

#define KERNEL(name) name##_avx512_zen
#define KERNELS_OF_SET ternary_kernels_avx512_zen

// Non-temporal: weights are too large to be found again in a cache, and in these processors they then do not push
// activations and partial results out of the third level.
#define STREAM(p, lines) \
  UNROLL for (int line = 0; line < lines; line++) _mm_prefetch((p) + 4096 + 64 * line, _MM_HINT_NTA);

#define TALL_FROM 4

#include "avx512.inc"

#pragma clang attribute pop
#endif
