// W2A8 product of many tokens with a ternary matrix, N rows × K columns: prompts.
//
// Shapes: tiles [N/16][K/32] of 128 bytes; codes [tokens][codeStride], scales and sums [tokens]; out [tokens][stride].
// Work: 2·N·K·tokens operations on int8 tensor cores. Bytes: weights once for each block's tokens, activations once for
// each block's rows, both mostly from the second-level cache. Bound by: with few blocks, the time until the first
// copies arrive and the cache; with many, tensor cores. Launch: 256 threads; grid (N over the rows of a block, tokens
// over its tokens, both rounded up); stages from the fewest to 5; shared memory stages times the stage's bytes
// (CUDAKernels.h) and 8 bytes for each of the block's tokens.
#include "gemm.cuh"

// Rows and tokens of a block are a compromise: more of them cost fewer bytes of the cache for each product, fewer keep
// more multiprocessors busy. So are groups, which divide the columns: with more groups a warp has more rows and tokens
// in its registers for each load from shared memory, but the groups' sums have to be added up.
using Gemm32x64 = Gemm<2, 4, 1, 2, 4>;
using Gemm64x64 = Gemm<4, 4, 1, 2, 4>;
using Gemm128x64 = Gemm<4, 4, 2, 2, 2>;
using Gemm96x128 = Gemm<6, 4, 1, 4, 2>;
using Gemm128x128 = Gemm<4, 8, 2, 2, 2>;
using Gemm256x128 = Gemm<4, 8, 4, 2, 1>;

#define GEMM(name, Shape, outcome, residentBlocks)                                                             \
  extern "C" __global__ void __launch_bounds__(256, residentBlocks)                                            \
  name(const GemmParameters p) {                                                                               \
    DYNAMIC_SHARED(shared);                                                                                    \
    Shape(outcome, p.matrix, p.codes, p.codeStride, p.tokens, p.stages, shared).run(p.scales, p.sums, p.target); \
  }
#define GEMMS(R, T, residentBlocks)                                                                      \
  static_assert(Gemm##R##x##T::rows == R && Gemm##R##x##T::tokens == T);                                 \
  static_assert(Gemm##R##x##T::stageBytes == gemm##R##x##T##StageBytes);                                 \
  static_assert(gemm##R##x##T##FewestStages >= 2);                                                       \
  static_assert(Gemm##R##x##T::partialBytes <= gemm##R##x##T##FewestStages * gemm##R##x##T##StageBytes); \
  GEMM(gemm##R##x##T##_project, Gemm##R##x##T, project, residentBlocks)                                  \
  GEMM(gemm##R##x##T##_add, Gemm##R##x##T, addToResidual, residentBlocks)                                \
  GEMM(gemm##R##x##T##_activate, Gemm##R##x##T, activate, residentBlocks)                                \
  GEMM(gemm##R##x##T##_exact, Gemm##R##x##T, exact, residentBlocks)

GEMMS(32, 64, 2)
GEMMS(64, 64, 2)
GEMMS(128, 64, 2)
GEMMS(96, 128, 1)
GEMMS(128, 128, 1)
GEMMS(256, 128, 1)
