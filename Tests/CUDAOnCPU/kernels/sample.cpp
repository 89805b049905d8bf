#include "sample.cu"

CUDA_KERNEL(sample_rows);
