#include "attention_window.cu"

CUDA_KERNEL(attend_window);
