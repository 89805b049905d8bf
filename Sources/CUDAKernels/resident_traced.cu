// decode_resident with time stamps (trace.cuh), under a name that ends in _traced.
#define DECODE_TRACE
#include "decode_resident.cu"
