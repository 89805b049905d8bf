// Kernels for Zen 4. They are those of avx512_zen.c for a processor whose 512-bit instructions take two cycles of units
// of 256 bits: one product starts per cycle, and all other instructions compete with it. A broadcast that is part of a
// product costs nothing there, one of its own does, even if it serves two products.
#include "CTernary.h"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,f16c,bmi2,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"))), apply_to = function)

#define KERNEL(name) name##_avx512_zen4
#define KERNELS_OF_SET ternary_kernels_avx512_zen4

#define STREAM(p, lines) \
  UNROLL for (int line = 0; line < lines; line++) _mm_prefetch((p) + 4096 + 64 * line, _MM_HINT_NTA);
#define TALL_FROM 9

#include "avx512.inc"

#pragma clang attribute pop
#endif
