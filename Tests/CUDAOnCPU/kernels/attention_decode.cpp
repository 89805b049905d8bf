#include "attention_decode.cu"

CUDA_KERNEL(attend_decode);
