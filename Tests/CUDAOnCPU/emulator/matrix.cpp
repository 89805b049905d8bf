#include "matrix.h"

#include <cstring>

namespace emulator {

// Lane 4g + t holds four bytes each from columns 4t and 4t + 16 of A's row g (a[0], a[2]) and row g + 8 (a[1], a[3]),
// and from rows 4t and 4t + 16 of B's column g; and columns 2t and 2t + 1 of C's rows g and g + 8.
void multiply(const MatrixOperands (&lanes)[32]) {
  alignas(64) uint8_t bytesOfA[16][32];
  alignas(64) int8_t bytesOfB[8][32];
  for (uint32_t lane = 0; lane < 32; lane++) {
    const MatrixOperands &from = lanes[lane];
    const uint32_t g = lane / 4, column = lane % 4 * 4;
    memcpy(&bytesOfA[g][column], &from.a[0], 4);
    memcpy(&bytesOfA[g + 8][column], &from.a[1], 4);
    memcpy(&bytesOfA[g][column + 16], &from.a[2], 4);
    memcpy(&bytesOfA[g + 8][column + 16], &from.a[3], 4);
    memcpy(&bytesOfB[g][column], &from.b[0], 4);
    memcpy(&bytesOfB[g][column + 16], &from.b[1], 4);
  }
  // Use 16-bit factors, because CPUs multiply and add pairs of them in one instruction.
  alignas(64) int16_t a[16][32];
  alignas(64) int16_t b[8][32];
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < 32; k++) a[row][k] = lanes[0].isSigned ? int8_t(bytesOfA[row][k]) : int16_t(bytesOfA[row][k]);
  for (int column = 0; column < 8; column++)
    for (int k = 0; k < 32; k++) b[column][k] = bytesOfB[column][k];
  int32_t products[16][8];
  for (int row = 0; row < 16; row++)
    for (int column = 0; column < 8; column++) {
      int32_t sum = 0;
      for (int k = 0; k < 32; k++) sum += int32_t{a[row][k]} * int32_t{b[column][k]};
      products[row][column] = sum;
    }
  for (uint32_t lane = 0; lane < 32; lane++)
    for (uint32_t i = 0; i < 4; i++) {
      // The device's sum wraps around.
      int &c = lanes[lane].c[i];
      c = int(unsigned(c) + unsigned(products[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]));
    }
}

}  // namespace emulator
