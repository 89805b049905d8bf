// Random matrices and their packing, in plain code that shares nothing with the kernels.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bitmap.h"

enum { slack = 4096 };  // readable bytes after the end

static uint64_t state;

void seed(uint64_t value) { state = value; }

uint32_t random32(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 32);
}

double uniform(void) { return random32() / 4294967296.0; }

Matrix randomMatrix(int rows, int columns, double zeros) {
  const Matrix m = {rows, columns, malloc((size_t)rows * columns)};
  for (size_t i = 0; i < (size_t)rows * columns; i++) {
    const double x = uniform();
    m.weights[i] = x < zeros ? 0 : x < zeros + (1 - zeros) / 2 ? 1 : -1;
  }
  return m;
}

static uint8_t *huge(size_t count) {
  const size_t unit = 2 << 20, rounded = (count + slack + unit - 1) / unit * unit;
  uint8_t *p = aligned_alloc(unit, rounded);
  if (!p) {
    fprintf(stderr, "bench: no memory for %zu bytes\n", rounded);
    exit(1);
  }
  madvise(p, rounded, MADV_HUGEPAGE);
  memset(p, 0, rounded);
  return p;
}

// Writes the tiles described in Sources/Ternary/Tile.swift to zeroed memory.
static void packTiles(const Matrix *m, uint8_t *bytes) {
  uint32_t *words = (uint32_t *)bytes;
  for (int r = 0; r < m->rows; r++)
    for (int c = 0; c < m->columns; c++) {
      const size_t tile = (size_t)(r / 16) * (m->columns / 32) + c / 32;
      const int word = r % 16 / 8 * 16 + c % 32 / 16 * 8 + r % 8, bit = 8 * (c % 4) + 2 * (c % 16 / 4);
      words[tile * 32 + word] |= (uint32_t)(m->weights[(size_t)r * m->columns + c] + 2) << bit;
    }
}

static void setBit(uint8_t *bytes, uint64_t bit) { bytes[bit / 8] |= (uint8_t)(1 << bit % 8); }

// Packs the bitmaps into `bytes` and the signs into `signs`. Returns the size of the signs.
static size_t packBitmap(const Variant *v, const Matrix *m, const Packed *p, uint8_t *bytes, uint8_t *signs) {
  uint64_t bit = 0, sign = 0;
  for (ptrdiff_t word = 0; word < p->groups * p->blocks * 8; word++) {
    const ptrdiff_t block = word / 8, group = block / p->blocks;
    if (word % (p->blocks * 8) == 0) p->offsets[group] = sign / 8;
    for (int i = 0; i < 64; i++, bit++) {
      const ptrdiff_t row = group * v->rows + rowOfBit(v, (int)(word % 8), i),
                      column = block % p->blocks * v->columns + columnOfBit(v, i);
      const int8_t weight = m->weights[row * m->columns + column];
      if (weight) setBit(bytes, bit);
      if (weight > 0) setBit(signs, sign);
      sign += weight != 0;
    }
    if ((word + 1) % v->run == 0) sign = (sign + 7) / 8 * 8;
  }
  return sign / 8;
}

Packed pack(const Variant *v, const Matrix *m, int copies) {
  Packed p = {0};
  const size_t weights = (size_t)m->rows * (size_t)m->columns, times = (size_t)copies;
  uint8_t *one = calloc(1, weights / 4), *signs = calloc(1, weights / 8);
  size_t size = weights / 4, signSize = 0;
  if (v) {
    p.groups = m->rows / v->rows;
    p.blocks = m->columns / v->columns;
    p.offsets = malloc((size_t)p.groups * times * sizeof *p.offsets);
    size = weights / 8;
    signSize = packBitmap(v, m, &p, one, signs);
  } else {
    packTiles(m, one);
  }
  p.size = (size + signSize) * times;
  p.bytes = huge(p.size);
  for (size_t copy = 0; copy < times; copy++) {
    memcpy(p.bytes + size * copy, one, size);
    memcpy(p.bytes + size * times + signSize * copy, signs, signSize);
    for (ptrdiff_t g = 0; g < p.groups; g++)
      p.offsets[p.groups * (ptrdiff_t)copy + g] = p.offsets[g] + signSize * copy;
  }
  for (ptrdiff_t g = 0; g < p.groups * copies; g++) p.offsets[g] += size * times;
  free(one);
  free(signs);
  return p;
}

void multiplyPacked(const Variant *v, const Packed *p, ptrdiff_t first, ptrdiff_t count, const int8_t *codes,
                    int32_t sum, int32_t *out) {
  v->multiply(p->bytes + 64 * p->blocks * first, p->bytes + p->offsets[first], count, p->blocks, codes, sum, out);
}

void freePacked(Packed *p) {
  free(p->bytes);
  free(p->offsets);
}
