// Mistake: no hand-over of decode_resident has a fence, also not the one before attention.
#include "ptx.cuh"

namespace plantedUnfencedAttention {

namespace ptx {
using namespace ::ptx;
inline unsigned gridArrive(unsigned *state) { return ::ptx::gridArriveRelaxed(state); }
}  // namespace ptx

#define decode_resident selftest_planted_unfenced_attention
#include "decode_resident.cu"

CUDA_KERNEL(selftest_planted_unfenced_attention);

}  // namespace plantedUnfencedAttention
