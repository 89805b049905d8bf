#include "rows.cu"

CUDA_KERNEL(embed_rows);
CUDA_KERNEL(quantize_rows);
