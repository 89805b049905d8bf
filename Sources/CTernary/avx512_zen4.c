// Kernels for Zen 4. They are those of avx512_zen.c for a processor whose 512-bit instructions take two cycles of units
// of 256 bits: one product starts per cycle, and most other instructions compete with it. A broadcast that is part of a
// product costs nothing there, one of its own does, even if it serves two products.
#define KERNEL(name) name##_avx512_zen4
#define KERNELS_OF_SET ternary_kernels_avx512_zen4
#define TALL_FROM 9
// Attention waits for misses of the first-level cache, of which it can have few at a time: keys and values that are
// prefetched to the second level arrive at 1.4 to 1.8 times the rate (31 to 43 GB/s on two cores, 19 to 25 otherwise).
#define ATTENTION_LOCALITY 2

#include "avx512_zen.inc"
