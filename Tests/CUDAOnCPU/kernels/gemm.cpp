#include "gemm.cu"

#define GEMM_KERNELS(shape)         \
  CUDA_KERNEL(gemm##shape##_project); \
  CUDA_KERNEL(gemm##shape##_add);     \
  CUDA_KERNEL(gemm##shape##_activate); \
  CUDA_KERNEL(gemm##shape##_exact)

GEMM_KERNELS(32x64);
GEMM_KERNELS(64x64);
GEMM_KERNELS(128x64);
GEMM_KERNELS(96x128);
GEMM_KERNELS(128x128);
GEMM_KERNELS(256x128);
