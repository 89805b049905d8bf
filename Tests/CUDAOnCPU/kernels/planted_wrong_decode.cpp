// Mistake: the activations of decode_one have twice their scale.
#include "ptx.cuh"

namespace plantedWrongDecode {

#include "quantize.cuh"

template <class... P> float plantedQuantize(P &&...parameters) { return 2 * blockQuantizeStaged(parameters...); }

#define blockQuantizeStaged plantedQuantize
#define decode_one selftest_planted_wrong_decode
#define decode_few plantedWrongDecodeFew
#include "decode.cu"

CUDA_KERNEL(selftest_planted_wrong_decode);

}  // namespace plantedWrongDecode
