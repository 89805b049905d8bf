// Mistake: the product of many tokens waits for one group of copies too few.
#include "ptx.cuh"

namespace plantedEarlyWait {

namespace ptx {
using namespace ::ptx;
template <int N> inline void waitAsync() { ::ptx::waitAsync<N + 1>(); }
}  // namespace ptx

#define gemm32x64_project selftest_planted_early_wait
#define gemm32x64_add plantedEarlyWait32x64_add
#define gemm32x64_activate plantedEarlyWait32x64_activate
#define gemm32x64_exact plantedEarlyWait32x64_exact
#define gemm64x64_project plantedEarlyWait64x64_project
#define gemm64x64_add plantedEarlyWait64x64_add
#define gemm64x64_activate plantedEarlyWait64x64_activate
#define gemm64x64_exact plantedEarlyWait64x64_exact
#define gemm128x64_project plantedEarlyWait128x64_project
#define gemm128x64_add plantedEarlyWait128x64_add
#define gemm128x64_activate plantedEarlyWait128x64_activate
#define gemm128x64_exact plantedEarlyWait128x64_exact
#define gemm96x128_project plantedEarlyWait96x128_project
#define gemm96x128_add plantedEarlyWait96x128_add
#define gemm96x128_activate plantedEarlyWait96x128_activate
#define gemm96x128_exact plantedEarlyWait96x128_exact
#define gemm128x128_project plantedEarlyWait128x128_project
#define gemm128x128_add plantedEarlyWait128x128_add
#define gemm128x128_activate plantedEarlyWait128x128_activate
#define gemm128x128_exact plantedEarlyWait128x128_exact
#define gemm256x128_project plantedEarlyWait256x128_project
#define gemm256x128_add plantedEarlyWait256x128_add
#define gemm256x128_activate plantedEarlyWait256x128_activate
#define gemm256x128_exact plantedEarlyWait256x128_exact
#include "gemm.cu"

CUDA_KERNEL(selftest_planted_early_wait);

}  // namespace plantedEarlyWait
