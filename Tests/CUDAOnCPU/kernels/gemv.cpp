#include "gemv.cu"

CUDA_KERNEL(gemv_project);
CUDA_KERNEL(gemv_add);
CUDA_KERNEL(gemv_activate);
CUDA_KERNEL(gemv_exact);
