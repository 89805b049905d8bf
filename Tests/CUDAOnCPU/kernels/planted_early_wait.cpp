// Mistake: the product of many tokens waits for one group of copies too few.
#include "ptx.cuh"

namespace plantedEarlyWait {

namespace ptx {
using namespace ::ptx;
template <int N> inline void waitAsync() { ::ptx::waitAsync<N + 1>(); }
}  // namespace ptx

#define gemm_project selftest_planted_early_wait
#define gemm_add plantedEarlyWaitAdd
#define gemm_activate plantedEarlyWaitActivate
#define gemm_exact plantedEarlyWaitExact
#include "gemm.cu"

CUDA_KERNEL(selftest_planted_early_wait);

}  // namespace plantedEarlyWait
