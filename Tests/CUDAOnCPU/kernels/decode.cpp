#include "decode.cu"

CUDA_KERNEL(decode_few);
