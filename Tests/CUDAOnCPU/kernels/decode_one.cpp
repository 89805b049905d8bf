#include "decode_one.cu"

CUDA_KERNEL(decode_one);
CUDA_KERNEL(decode_one_small);
