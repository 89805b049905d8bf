// Support for the kernel check: seeded numbers, buffers that end at an unreadable page, comparison and hashing of
// results.
#ifndef KERNELS_CHECK_H
#define KERNELS_CHECK_H

#define _GNU_SOURCE
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "CTernary.h"

#pragma STDC FP_CONTRACT OFF

enum { MAX_SETS = 8, SLOTS = 13, MARGIN = 256, UNTOUCHED = 0xC7 };

static const TernaryKernels *sets[MAX_SETS];  // portable first
static int setCount;
static uint64_t seed = 1;

/// The current case.
static struct {
  char label[128];
  uint64_t state, hash;
  int set, result, results;
} now;
static uint64_t cases, total;

_Noreturn __attribute__((format(printf, 1, 2))) static void fail(const char *format, ...) {
  fflush(stdout);
  const char *set = now.set >= 0 && now.set < setCount ? sets[now.set]->name : "none";
  fprintf(stderr, "%s, instruction set %s, seed %llu: ", now.label, set, (unsigned long long)seed);
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  _exit(1);
}

static void fault(int signal) {
  fail("%s: memory outside a buffer was touched, or an instruction is unknown", strsignal(signal));
}

// Numbers.

static uint64_t mix(uint64_t x) {  // splitmix64
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
static uint64_t draw(void) { return mix(now.state += 0x9E3779B97F4A7C15u); }
static ptrdiff_t below(ptrdiff_t count) { return (ptrdiff_t)((draw() >> 33) % (uint64_t)count); }
static float fromBits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

typedef enum { ORDINARY, WIDE, TINY, HALVES, ZEROS, NOT_FINITE, FLOAT_KINDS } Floats;
static const char *const floatNames[] = {"ordinary", "wide", "tiny", "halves", "zeros", "not-finite"};

static float drawFloat(Floats kind) {
  const uint64_t r = draw();
  const uint32_t sign = (uint32_t)(r >> 63) << 31, fraction = (uint32_t)r & 0x7FFFFF,
                 choice = (uint32_t)(r >> 32) & 0xFFFF;
  switch (kind) {
    case WIDE: return fromBits(sign | (127 - 40 + choice % 81) << 23 | fraction);
    case TINY: return fromBits(sign | (choice % 4) << 23 | fraction);
    case HALVES: return ((float)(choice % 509) - 254) / 2;
    case ZEROS: return fromBits(sign);
    case NOT_FINITE:
      if (choice % 50 == 0) return fromBits(sign | 0x7F800000);
      if (choice % 50 == 1) return fromBits(sign | 0x7FC00000);
      break;
    default: break;
  }
  return ((float)(fraction & 0x3FFFFF) + 1) * 0x1p-20f * (sign ? -1.0f : 1.0f);
}
static void drawFloats(float *x, ptrdiff_t n, Floats kind) {
  for (ptrdiff_t i = 0; i < n; i++) x[i] = drawFloat(kind);
}
static uint16_t drawHalf(Floats kind) {  // bfloat16
  const float x = drawFloat(kind);
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return (uint16_t)(bits >> 16);
}

// Buffers.

static struct {
  uint8_t *end;
  size_t capacity;
} slots[SLOTS];

/// Returns a buffer of exactly `bytes` bytes filled with `fill`. The page after it is unreadable, and `watch` checks
/// the bytes before it.
static void *buffer(int slot, size_t bytes, int fill) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), needed = (bytes + MARGIN + page - 1) / page * page;
  if (slots[slot].capacity < needed) {
    if (slots[slot].end) munmap(slots[slot].end - slots[slot].capacity, slots[slot].capacity + page);
    uint8_t *start = mmap(NULL, needed + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (start == MAP_FAILED || mprotect(start + needed, page, PROT_NONE) != 0) fail("no memory");
    slots[slot].end = start + needed;
    slots[slot].capacity = needed;
  }
  uint8_t *p = slots[slot].end - bytes;
  memset(p - MARGIN, UNTOUCHED, MARGIN);
  memset(p, fill, bytes);
  return p;
}
/// Returns a buffer for a kernel's input or scratch, filled with NaNs.
static void *input(int slot, size_t bytes) { return buffer(slot, bytes, 0xFF); }
/// Returns a buffer for a kernel's output.
static void *output(int slot, size_t bytes) { return buffer(slot, bytes, UNTOUCHED); }

/// Fails if anything was written before the buffer.
static void watch(const void *bytes) {
  for (const uint8_t *b = (const uint8_t *)bytes - MARGIN; b < (const uint8_t *)bytes; b++)
    if (*b != UNTOUCHED) fail("memory before a buffer was written");
}

// Cases.

__attribute__((format(printf, 1, 2))) static void begin(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(now.label, sizeof now.label, format, arguments);
  va_end(arguments);
  // Numbers depend only on the seed and the label, so that a case does not change with the other cases.
  now.state = seed;
  for (const char *c = now.label; *c; c++) now.state = mix(now.state ^ (uint8_t)*c);
  now.hash = 0;
  now.set = -1;
  now.results = 0;
}

/// The expected results of the case: the scalar code's or else the portable set's, which the others must equal.
static struct Expected {
  uint8_t *bytes;
  size_t capacity;
} expected[4];

typedef enum { INTEGERS, FLOATS, FINITE } Kind;

/// Compares one result of the case's current instruction set with the expected one, or records the first as expected.
static void result(const void *bytes, size_t count, Kind kind) {
  if (now.result == 4) fail("more results than the check has room for");
  struct Expected *e = &expected[now.result];
  const bool first = now.result++ == now.results;
  watch(bytes);
  if (first && e->capacity < count && !(e->bytes = realloc(e->bytes, e->capacity = count))) fail("no memory");
  if (first) now.results++;
  for (size_t i = 0; i < count;) {
    uint32_t v = 0;
    const size_t part = count - i < 4 ? count - i : 4;
    memcpy(&v, (const uint8_t *)bytes + i, part);
    if (kind == FINITE && (v & 0x7F800000) == 0x7F800000)
      fail("result %d is not finite at byte %zu: %08x", now.result, i, v);
    if (kind == FLOATS && (v & 0x7FFFFFFF) > 0x7F800000) v = 0x7FC00000;  // the bits of a NaN differ between processors
    if (first) {
      memcpy(e->bytes + i, &v, part);
      now.hash = mix(now.hash ^ v) + i;
    } else {
      uint32_t w = 0;
      memcpy(&w, e->bytes + i, part);
      if (v != w) fail("result %d has %08x at byte %zu; expected %08x", now.result, v, i, w);
    }
    i += part;
  }
}

/// Returns the next instruction set to run, or prints the case's line and returns NULL when there are no more. Results
/// recorded before the first set are expected of all sets.
static const TernaryKernels *nextSet(void) {
  now.result = 0;
  if (++now.set < setCount) return sets[now.set];
  printf("%s: %016llx\n", now.label, (unsigned long long)now.hash);
  total = mix(total ^ now.hash);
  cases++;
  return NULL;
}

#endif
