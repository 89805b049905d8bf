// Ternary weights as a bitmap of non-zeros and the packed signs of the non-zeros.
//
// A matrix is cut into groups of rows, and a group into blocks of eight 64-bit words along the columns. All bitmaps
// follow one another, and so do all signs, in the order of the words and from bit 0 of a word on; 1 is +1. The signs
// of a run of words are followed by zeros up to a whole byte.
#ifndef BITMAP_H
#define BITMAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  const char *name;
  int rows, columns;  // of a block: 16 × 32, two rows per word, or 8 × 64, one row per word
  int run;            // words: 1, or 8, a block
  // Sets out to the products of all rows with codes, which are padded to a multiple of 64 and whose sum is `sum`.
  // Reads past the end of both streams, at most 2 KiB.
  void (*multiply)(const uint8_t *bitmap, const uint8_t *signs, ptrdiff_t groups, ptrdiff_t blocks,
                   const int8_t *codes, int32_t sum, int32_t *out);
} Variant;

// An entry without a name ends the list.
extern const Variant variants[];

// The column of a block that bit `bit` of a word represents. With two rows per word, byte j of a row holds columns j,
// j + 4, … j + 28, so that four neighbouring columns have the same bit of four bytes.
static inline int columnOfBit(const Variant *v, int bit) {
  return v->columns == 64 ? bit : bit % 8 * 4 + bit % 32 / 8;
}

// The row of a block that bit `bit` of word `word` represents.
static inline int rowOfBit(const Variant *v, int word, int bit) {
  return v->columns == 64 ? word : 2 * word + bit / 32;
}

// Random numbers, the same for the same seed.
void seed(uint64_t value);
uint32_t random32(void);
double uniform(void);

typedef struct {
  int rows, columns;
  int8_t *weights;  // [rows][columns]
} Matrix;

Matrix randomMatrix(int rows, int columns, double zeros);

typedef struct {
  uint8_t *bytes;     // tiles, or bitmaps followed by signs, in huge pages
  uint64_t *offsets;  // where each group's signs start in `bytes`
  ptrdiff_t groups, blocks;
  size_t size;
} Packed;

// Packs a matrix `copies` times, one after another: into tiles if v is NULL, otherwise into bitmap storage.
Packed pack(const Variant *v, const Matrix *m, int copies);
void freePacked(Packed *p);

// Multiplies `count` groups of bitmap storage from group `first` on.
void multiplyPacked(const Variant *v, const Packed *p, ptrdiff_t first, ptrdiff_t count, const int8_t *codes,
                    int32_t sum, int32_t *out);

#endif
