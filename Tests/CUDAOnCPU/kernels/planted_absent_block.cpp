// Mistake: the last block of decode_one never comes to a barrier of the grid, where the others wait for it.
#include "ptx.cuh"

namespace ptx {

inline unsigned plantedArrive(unsigned *state) {
  if (blockIdx.x + 1 < gridDim.x) return gridArrive(state);
  __syncthreads();
  return *state;
}

}  // namespace ptx

namespace plantedAbsentBlock {

#define gridArrive plantedArrive
#define decode_one selftest_planted_absent_block
#define decode_one_small plantedAbsentBlockSmall
#include "decode_one.cu"

CUDA_KERNEL(selftest_planted_absent_block);

}  // namespace plantedAbsentBlock
