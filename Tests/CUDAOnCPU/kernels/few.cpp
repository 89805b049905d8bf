#include "few.cu"

CUDA_KERNEL(few_project);
CUDA_KERNEL(few_add);
CUDA_KERNEL(few_activate);
CUDA_KERNEL(few_exact);
