// Mistake: the activation scale of decode_one is twice the right one.
#include "ptx.cuh"

namespace plantedWrongDecode {

#include "quantize.cuh"

inline float plantedScale(float absmax) { return 2 * quantizerScale(absmax); }

#define quantizerScale plantedScale
#define decode_one selftest_planted_wrong_decode
#define decode_one_small plantedWrongDecodeSmall
#include "decode_one.cu"

CUDA_KERNEL(selftest_planted_wrong_decode);

}  // namespace plantedWrongDecode
