// Reads memory as fast as a plain loop does, to measure an upper bound for the other loops.
#include "CTernary.h"

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
