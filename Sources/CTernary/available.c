// What this machine has: instruction sets, processors, memory speed.
#define _GNU_SOURCE
#include "CTernary.h"

#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif

extern const TernaryKernels ternary_kernels_portable;
#if defined(__x86_64__)
extern const TernaryKernels ternary_kernels_avx2, ternary_kernels_avx512;
#endif

const TernaryKernels *const *ternary_kernels_available(void) {
  static const TernaryKernels *list[4];  // filled with the same values by every caller
  int count = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
    list[count++] = &ternary_kernels_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list[count++] = &ternary_kernels_avx2;
#endif
  list[count++] = &ternary_kernels_portable;
  return list;
}

int ternary_processor_count(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
  const long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? (int)count : 1;
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
