// Mistake: the last block of decode_one hangs before the second barrier of the grid, where the others wait for it.
#include "ptx.cuh"

namespace ptx {

// The top bit of the state is set from the first barrier to the second.
inline unsigned plantedArrive(unsigned *state) {
  if (threadIdx.x == 0 && blockIdx.x + 1 == gridDim.x)
    while ((loadAcquire(state) & 0x80000000u) != 0) {}
  return gridArrive(state);
}

}  // namespace ptx

namespace plantedAbsentBlock {

#define gridArrive plantedArrive
#define decode_one selftest_planted_absent_block
#define decode_one_small plantedAbsentBlockSmall
#include "decode_one.cu"

CUDA_KERNEL(selftest_planted_absent_block);

}  // namespace plantedAbsentBlock
