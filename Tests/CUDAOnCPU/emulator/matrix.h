// mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32, or .s8.s8., for a whole warp.
#pragma once

#include "threads.h"

namespace emulator {

// Adds A·B to C; the 32 lanes hold the fragments in PTX's layout.
[[gnu::visibility("hidden")]] void multiply(const MatrixOperands (&lanes)[32]);

}  // namespace emulator
