// Mistake: Gemv::run has no barrier between writing a warp's sums and reading those of its team.
#include <string_view>

#include "ptx.cuh"

namespace plantedMissingBarrier {

inline void __syncthreads(emulator::Location where = emulator::Location::current()) {
  if (!std::string_view(where.file_name()).ends_with("gemv.cuh")) ::__syncthreads(where);
}

#define gemv_project selftest_planted_missing_barrier
#define gemv_add plantedMissingBarrierAdd
#define gemv_activate plantedMissingBarrierActivate
#define gemv_exact plantedMissingBarrierExact
#include "gemv.cu"

CUDA_KERNEL(selftest_planted_missing_barrier);

}  // namespace plantedMissingBarrier
