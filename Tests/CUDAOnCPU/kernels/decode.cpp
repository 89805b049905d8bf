#include "decode.cu"

CUDA_KERNEL(decode_one);
CUDA_KERNEL(decode_few);
