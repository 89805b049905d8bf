// Gets and sets the processors that a thread may run on; Swift's C library modules lack these functions.
#define _GNU_SOURCE
#include "CTernary.h"

#if defined(__linux__)
#include <sched.h>
#endif

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
