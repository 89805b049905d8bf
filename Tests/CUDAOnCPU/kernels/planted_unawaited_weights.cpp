// Mistake: decode_resident multiplies without waiting for the copies of its weights.
#include "ptx.cuh"

namespace plantedUnawaitedWeights {

namespace ptx {
using namespace ::ptx;
inline void waitBarrier(uint64 *, unsigned) {}
}  // namespace ptx

#define decode_resident selftest_planted_unawaited_weights
#include "decode_resident.cu"

CUDA_KERNEL(selftest_planted_unawaited_weights);

}  // namespace plantedUnawaitedWeights
