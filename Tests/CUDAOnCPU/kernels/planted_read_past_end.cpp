// Mistake: the loops over tile rows go one row too far. The extra reads change no result.
#include "ptx.cuh"

namespace plantedReadPastEnd {

#define tileRows tileRows + 1
#define gemv_project selftest_planted_read_past_end
#define gemv_add plantedReadPastEndAdd
#define gemv_activate plantedReadPastEndActivate
#define gemv_exact plantedReadPastEndExact
#include "gemv.cu"

CUDA_KERNEL(selftest_planted_read_past_end);

}  // namespace plantedReadPastEnd
