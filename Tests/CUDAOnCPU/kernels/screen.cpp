#include "screen.cu"

CUDA_KERNEL(screen_build);
CUDA_KERNEL(screen_1);
CUDA_KERNEL(screen_4);
CUDA_KERNEL(screen_tokens);
CUDA_KERNEL(screen_many);
CUDA_KERNEL(screen_rescore);
