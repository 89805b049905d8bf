#include "decode_resident.cu"

CUDA_KERNEL(decode_resident);
