#include "normed.cu"

CUDA_KERNEL(quantize_parts);
CUDA_KERNEL(normalize_heads);
CUDA_KERNEL(add_branch);
CUDA_KERNEL(gate_rows);
CUDA_KERNEL(scale_outputs);
