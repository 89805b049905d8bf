// Kernels for x86-64 with AVX-512 and VNNI, for processors other than AMD's.
#include "CTernary.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)

#define KERNEL(name) name##_avx512
#define KERNELS_OF_SET ternary_kernels_avx512

// Prefetch into L2 far ahead, and into L1 only 1 KiB ahead: L1 has few fill buffers, and a shorter distance occupies
// each more briefly.
#define STREAM(p, lines)                                     \
  UNROLL for (int line = 0; line < lines; line++) {          \
    _mm_prefetch((p) + 8192 + 64 * line, _MM_HINT_T1);       \
    _mm_prefetch((p) + 1024 + 64 * line, _MM_HINT_T0);       \
  }

#define TALL_FROM 4

#include "avx512.inc"

#pragma clang attribute pop
#endif
