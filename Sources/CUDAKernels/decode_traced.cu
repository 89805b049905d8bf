// The decode step with time stamps (trace.cuh), as decode_one_traced and decode_few_traced.
#define DECODE_TRACE
#include "decode.cu"
