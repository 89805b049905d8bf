// The namespace separates names that have other meanings in decode.cpp and decode_one.cpp.
#include "ptx.cuh"

namespace traced {

#include "decode_traced.cu"

CUDA_KERNEL(decode_few_traced);
CUDA_KERNEL(decode_one_traced);
CUDA_KERNEL(decode_one_small_traced);

}  // namespace traced
