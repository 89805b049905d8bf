// Mistake: the attention of windows waits for one group of copies too few.
#include "ptx.cuh"

namespace plantedEarlyWindowWait {

namespace ptx {
using namespace ::ptx;
template <int N> inline void waitAsync() { ::ptx::waitAsync<N + 1>(); }
}  // namespace ptx

#define attend_window selftest_planted_early_window_wait
#include "attention_window.cu"

CUDA_KERNEL(selftest_planted_early_window_wait);

}  // namespace plantedEarlyWindowWait
