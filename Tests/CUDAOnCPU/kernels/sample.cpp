#include "sample.cu"

CUDA_KERNEL(sample_rows);
CUDA_KERNEL(adjust_rows);
CUDA_KERNEL(describe_rows);
