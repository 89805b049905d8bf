// Kernels for AMD's processors with AVX-512 and VNNI, except for Zen 4. They are those of avx512.c with other
// prefetches: with the two steps that suit Intel's processors, one token's stream reaches 83 % of a Zen 5 core's
// bandwidth, with one step into L1 all of it.
#define KERNEL(name) name##_avx512_zen
#define KERNELS_OF_SET ternary_kernels_avx512_zen
#define TALL_FROM 4

#include "avx512_zen.inc"
