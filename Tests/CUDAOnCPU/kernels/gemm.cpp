#include "gemm.cu"

CUDA_KERNEL(gemm_project);
CUDA_KERNEL(gemm_add);
CUDA_KERNEL(gemm_activate);
CUDA_KERNEL(gemm_exact);
