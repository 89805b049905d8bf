// The decode steps with time stamps (trace.cuh), under names that end in _traced.
#define DECODE_TRACE
#include "decode.cu"
#include "decode_one.cu"
