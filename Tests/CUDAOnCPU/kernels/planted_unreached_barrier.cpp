// Mistake: only one lane of each warp reaches the barriers.
#include "ptx.cuh"

namespace plantedUnreachedBarrier {

inline void __syncthreads(emulator::Location where = emulator::Location::current()) {
  if (threadIdx.x % 32 == 0) ::__syncthreads(where);
}

#define embed_rows plantedUnreachedBarrierEmbed
#define quantize_rows selftest_planted_unreached_barrier
#include "rows.cu"

CUDA_KERNEL(selftest_planted_unreached_barrier);

}  // namespace plantedUnreachedBarrier
