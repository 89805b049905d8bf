// The namespace separates names that have other meanings in decode_resident.cpp.
#include "ptx.cuh"

namespace resident_traced {

#include "resident_traced.cu"

CUDA_KERNEL(decode_resident_traced);

}  // namespace resident_traced
