// Mistake: two registers of the A fragment are swapped.
#include "ptx.cuh"

namespace plantedSwappedFragments {

namespace ptx {
using namespace ::ptx;
inline void mma(int (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  ::ptx::mma(c, a0, a2, a1, a3, b0, b1);
}
}  // namespace ptx

#define few_project selftest_planted_swapped_fragments
#define few_add plantedSwappedFragmentsAdd
#define few_activate plantedSwappedFragmentsActivate
#define few_exact plantedSwappedFragmentsExact
#include "few.cu"

CUDA_KERNEL(selftest_planted_swapped_fragments);

}  // namespace plantedSwappedFragments
