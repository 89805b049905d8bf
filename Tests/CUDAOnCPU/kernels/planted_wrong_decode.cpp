// Mistake: the activations of decode_one_small have twice their scale.
#include "ptx.cuh"

namespace plantedWrongDecode {

#include "quantize.cuh"

inline float plantedScale(float absmax) { return 2 * quantizerScale(absmax); }

#define quantizerScale plantedScale
#define decode_one plantedWrongDecodeLarge
#define decode_one_small selftest_planted_wrong_decode
#include "decode_one.cu"

CUDA_KERNEL(selftest_planted_wrong_decode);

}  // namespace plantedWrongDecode
