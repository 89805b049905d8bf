#include "screen_cuts.cu"

CUDA_KERNEL(screen_cuts);
