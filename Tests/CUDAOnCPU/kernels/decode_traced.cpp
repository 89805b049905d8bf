// In a namespace of its own: the same names mean other things in decode.cpp.
#include "ptx.cuh"

namespace traced {

#include "decode_traced.cu"

CUDA_KERNEL(decode_one_traced);
CUDA_KERNEL(decode_few_traced);

}  // namespace traced
