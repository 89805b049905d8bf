// Mistake: the loops over tile rows go one too far. What is read there is stored nowhere.
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
