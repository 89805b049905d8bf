// Kernels in plain C for any processor, the baseline for the others.
#include "CTernary.h"

#define KERNEL(name) name##_portable
#include "canonical.inc"

static void
    KERNEL(multiply) (const void *tiles, ptrdiff_t tilesPerRow, ptrdiff_t rows, const int8_t *codes,
                      ptrdiff_t codeStride, const int32_t *sums, ptrdiff_t tokens, int32_t *out, ptrdiff_t outStride) {
  for (ptrdiff_t n = 0; n < rows; n += 16)
    for (ptrdiff_t t = 0; t < tokens; t++) {
      const uint32_t *word = (const uint32_t *)tiles + n / 16 * tilesPerRow * 32;
      const int8_t *a = codes + t * codeStride;
      int32_t sum[16];
      for (int r = 0; r < 16; r++) sum[r] = -2 * sums[t];  // codes are stored + 2
      for (ptrdiff_t k = 0; k < tilesPerRow; k++, word += 32, a += 32)
        for (int e = 0; e < 32; e++) {
          // The words of eight rows are adjacent, so the compiler vectorises this inner loop.
          const uint32_t *w = word + e / 16 * 8;
          const int shift = 8 * (e % 4) + 2 * (e % 16 / 4);
          for (int r = 0; r < 8; r++) sum[r] += (int32_t)(w[r] >> shift & 3) * a[e];
          for (int r = 0; r < 8; r++) sum[8 + r] += (int32_t)(w[16 + r] >> shift & 3) * a[e];
        }
      memcpy(out + t * outStride + n, sum, sizeof sum);
    }
}

static void KERNEL(panelProducts) (const int8_t *panels, ptrdiff_t stride, ptrdiff_t rows, const int8_t *codes,
                                   ptrdiff_t codeStride, const int32_t *sums, ptrdiff_t vectors, int32_t *out,
                                   ptrdiff_t outStride) {
  (void)sums;  // only unsigned rows need them
  for (ptrdiff_t n = 0; n < rows; n += 16)
    for (ptrdiff_t t = 0; t < vectors; t++) {
      const int8_t *p = panels + n * stride, *c = codes + t * codeStride;
      int32_t sum[16] = {0};
      for (ptrdiff_t i = 0; i < stride; i += 4, p += 64)
        for (int r = 0; r < 16; r++)
          for (int e = 0; e < 4; e++) sum[r] += p[4 * r + e] * c[i + e];
      memcpy(out + t * outStride + n, sum, sizeof sum);
    }
}

const TernaryKernels ternary_kernels_portable = KERNELS("portable");
