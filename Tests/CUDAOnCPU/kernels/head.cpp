#include "head.cu"

CUDA_KERNEL(head_1);
CUDA_KERNEL(head_4);
CUDA_KERNEL(head_8);
