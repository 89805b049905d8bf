// The instruction sets that this machine has.
#include "CTernary.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

extern const TernaryKernels ternary_kernels_portable;
#if defined(__x86_64__)
extern const TernaryKernels ternary_kernels_avx2, ternary_kernels_avxvnni, ternary_kernels_avx512,
    ternary_kernels_avx512_zen, ternary_kernels_avx512_zen4;

/// AMD's family 25 is Zen 3 and Zen 4, of which Zen 4 has AVX-512.
static int isFamily25(void) {
  unsigned a = 0, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (a >> 8 & 15) + (a >> 20 & 255) == 25;
}

static const TernaryKernels *avx512(void) {
  if (!__builtin_cpu_is("amd")) return &ternary_kernels_avx512;
  return isFamily25() ? &ternary_kernels_avx512_zen4 : &ternary_kernels_avx512_zen;
}
#elif defined(__aarch64__)
extern const TernaryKernels ternary_kernels_neon, ternary_kernels_neon_i8mm;

#if defined(__linux__)
static int hasDotProduct(void) { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
static int hasMatrixProduct(void) { return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }
#elif defined(__APPLE__)
static int has(const char *feature) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(feature, &value, &size, NULL, 0) == 0 && value;
}
static int hasDotProduct(void) { return has("hw.optional.arm.FEAT_DotProd"); }
static int hasMatrixProduct(void) { return has("hw.optional.arm.FEAT_I8MM"); }
#else
static int hasDotProduct(void) { return 0; }
static int hasMatrixProduct(void) { return 0; }
#endif
#endif

const TernaryKernels *const *ternary_kernels_available(void) {
  static const TernaryKernels *list[5];  // filled with the same values by every caller
  int count = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
    list[count++] = avx512();
  if (__builtin_cpu_supports("avxvnni") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    list[count++] = &ternary_kernels_avxvnni;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list[count++] = &ternary_kernels_avx2;
#elif defined(__aarch64__)
  if (hasDotProduct() && hasMatrixProduct()) list[count++] = &ternary_kernels_neon_i8mm;
  if (hasDotProduct()) list[count++] = &ternary_kernels_neon;
#endif
  list[count++] = &ternary_kernels_portable;
  return list;
}
