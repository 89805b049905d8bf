#include "rotary.cu"

CUDA_KERNEL(rotate_and_append);
