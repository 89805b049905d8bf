// Mistake: one distance of the shuffles that combine a warp's sums is wrong, so that half of the lanes count twice and
// half not at all.
#include "ptx.cuh"

namespace plantedDroppedLane {

inline float __shfl_xor_sync(unsigned mask, float value, int bits) {
  return ::__shfl_xor_sync(mask, value, bits == 2 ? 1 : bits);
}

#define head_1 plantedDroppedLane1
#define head_4 selftest_planted_dropped_lane
#define head_8 plantedDroppedLane8
#include "head.cu"

CUDA_KERNEL(selftest_planted_dropped_lane);

}  // namespace plantedDroppedLane
