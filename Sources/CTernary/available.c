// What this machine has: instruction sets, processors, memory speed.
#define _GNU_SOURCE
#include "CTernary.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

extern const TernaryKernels ternary_kernels_portable;
#if defined(__x86_64__)
extern const TernaryKernels ternary_kernels_avx2, ternary_kernels_avxvnni, ternary_kernels_avx512;
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
    list[count++] = &ternary_kernels_avx512;
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

// Swift's modules of the C libraries do not have these.
int ternary_get_affinity(void *set, size_t byteCount) {
#if defined(__linux__)
  return sched_getaffinity(0, byteCount, set) == 0;
#else
  (void)set, (void)byteCount;
  return 0;
#endif
}

int ternary_set_affinity(const void *set, size_t byteCount) {
#if defined(__linux__)
  return sched_setaffinity(0, byteCount, set) == 0;
#else
  (void)set, (void)byteCount;
  return 0;
#endif
}

uint64_t ternary_read(const void *bytes, size_t count) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  const Line *line = bytes;
  Line sum = {0};
  for (size_t i = 0; i < count / 64; i++) {
    __builtin_prefetch((const char *)(line + i) + 4096);
    sum ^= line[i];
  }
  uint64_t result = 0;
  for (int word = 0; word < 8; word++) result ^= sum[word];
  return result;
}
