#include "attention_prompt.cu"

CUDA_KERNEL(attend_prompt);
