// Small kernels for tests of the emulator and the driver's wrapper. Comments name planted mistakes.
#include "cuda_on_cpu.h"

// Adds a to out.
extern "C" __global__ void __launch_bounds__(256) selftest_add(float *out, const float *a, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = __fadd_rn(out[i], a[i]);
}

// A parameter with members of every kind.
struct SelftestParameters {
  const unsigned *values;
  float factor;
  int count;
  unsigned short small[3];
};
extern "C" __global__ void selftest_parameters(float *out, int a, unsigned b, unsigned long long c, float d,
                                               const __grid_constant__ SelftestParameters e) {
  if (threadIdx.x != 0) return;
  out[0] = float(a);
  out[1] = float(b);
  out[2] = float(c >> 32);
  out[3] = d;
  out[4] = e.factor * float(e.values[e.count - 1]);
  out[5] = float(e.small[2]);
}

// Mistake: reads `offset` elements past the end.
extern "C" __global__ void selftest_out_of_bounds(float *out, const float *a, int n, int offset) {
  if (threadIdx.x == 0 && blockIdx.x == gridDim.x - 1) out[0] = a[n + offset];
}

// Prefetches a line, perhaps before the start or past the end.
extern "C" __global__ void selftest_prefetch_at(const unsigned char *bytes, long long offset) {
  if (threadIdx.x == 0) ptx::prefetchL2(bytes + offset);
}

// Writes one byte, perhaps before the start or past the end.
extern "C" __global__ void selftest_write_at(unsigned char *bytes, long long offset) {
  if (threadIdx.x == 0) bytes[offset] = 1;
}

// Mistake: writes `count` bytes of shared memory, regardless of its size.
extern "C" __global__ void selftest_shared_overrun(unsigned *out, int count) {
  DYNAMIC_SHARED(bytes);
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) bytes[i] = static_cast<unsigned char>(i);
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = bytes[0];
}

// Reverses each block's elements through shared memory. Mistake, with `barrier` 0: there is no barrier.
extern "C" __global__ void selftest_missing_barrier(unsigned *out, const unsigned *a, int barrier) {
  DYNAMIC_SHARED(bytes);
  unsigned *const shared = reinterpret_cast<unsigned *>(bytes);
  const unsigned t = threadIdx.x, n = blockDim.x, base = blockIdx.x * n;
  shared[t] = a[base + t];
  if (barrier != 0) __syncthreads();
  out[base + t] = shared[n - 1 - t];
}

// Mistake: a barrier and a collective that each wait for the other.
extern "C" __global__ void selftest_hang() {
  if (threadIdx.x == 0) __syncwarp();
  else __syncthreads();
}

// Mistake: waits for a flag that is never set.
extern "C" __global__ void selftest_spin(const unsigned *flag) {
  while (ptx::loadAcquire(flag) == 0) {
  }
}

// Copies 16 bytes for each thread through shared memory. Mistake, with `wait` 0: does not wait for the copy.
extern "C" __global__ void selftest_missing_wait(uint4 *out, const uint4 *a, int wait) {
  DYNAMIC_SHARED(bytes);
  uint4 *const shared = reinterpret_cast<uint4 *>(bytes);
  ptx::copyAsync16(&shared[threadIdx.x], &a[threadIdx.x]);
  ptx::commitAsync();
  if (wait != 0) ptx::waitAsync<0>();
  out[threadIdx.x] = shared[threadIdx.x];
}

// Mistake: lanes of a warp at different collectives.
extern "C" __global__ void selftest_divergent(unsigned *out) {
  if (threadIdx.x % 2 == 0) out[threadIdx.x] = unsigned(__any_sync(~0u, 1));
  else out[threadIdx.x] = __ballot_sync(~0u, 1);
}

// Mistake: divides by zero if the divisor is zero.
extern "C" __global__ void selftest_divide(int *out, int divisor) { out[0] /= divisor; }

// Mistake: copies asynchronously from an odd address.
extern "C" __global__ void selftest_misaligned(const unsigned char *a) {
  DYNAMIC_SHARED(bytes);
  ptx::copyAsync16(bytes, a + 1);
}

// Sets out[block] to the sum of the block's elements.
extern "C" __global__ void selftest_reduce(int *out, const int *a, int n) {
  DYNAMIC_SHARED(bytes);
  int *const sums = reinterpret_cast<int *>(bytes);
  const int t = int(threadIdx.x), i = int(blockIdx.x * blockDim.x) + t;
  int sum = i < n ? a[i] : 0;
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
  if (t % 32 == 0) sums[t / 32] = sum;
  __syncthreads();
  if (t >= 32) return;
  sum = t < int(blockDim.x) / 32 ? sums[t] : 0;
  sum = ptx::reduceAdd(sum);
  if (t == 0) out[blockIdx.x] = sum;
}

// Waits for all blocks of the grid; state[0] counts arrivals.
static __device__ void selftestGridBarrier(unsigned *state) {
  __syncthreads();
  if (threadIdx.x == 0) {
    ptx::countGridBarrier();
    const unsigned target = (ptx::addRelease(state, 1) / gridDim.x + 1) * gridDim.x;
    while (ptx::loadAcquire(state) < target) {
    }
  }
  __syncthreads();
}

// In each of `rounds` rounds, every block adds its neighbour's number from the previous round to its own.
extern "C" __global__ void selftest_grid_barrier(unsigned *numbers, unsigned *state, int rounds) {
  for (int round = 0; round < rounds; round++) {
    unsigned *const from = numbers + unsigned(round % 2) * gridDim.x, *const to =
                                                                          numbers + unsigned(1 - round % 2) * gridDim.x;
    if (threadIdx.x == 0) to[blockIdx.x] = from[blockIdx.x] + from[(blockIdx.x + 1) % gridDim.x];
    selftestGridBarrier(state);
  }
}

// Adds a (16×32, unsigned) · b (32×8, stored by columns) to c (16×8), with one warp.
extern "C" __global__ void selftest_mma(int *c, const unsigned *a, const unsigned *b) {
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
  int sums[4] = {c[g * 8 + 2 * t], c[g * 8 + 2 * t + 1], c[(g + 8) * 8 + 2 * t], c[(g + 8) * 8 + 2 * t + 1]};
  ptx::mma(sums, a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4], a[(g + 8) * 8 + t + 4], b[g * 8 + t],
           b[g * 8 + t + 4]);
  c[g * 8 + 2 * t] = sums[0];
  c[g * 8 + 2 * t + 1] = sums[1];
  c[(g + 8) * 8 + 2 * t] = sums[2];
  c[(g + 8) * 8 + 2 * t + 1] = sums[3];
}

// Sends `value` to the host through pinned memory, then waits for the host to answer with the same value in flags[1].
extern "C" __global__ void selftest_flag(unsigned *flags, unsigned value, int answer) {
  if (threadIdx.x != 0 || blockIdx.x != 0) return;
  ptx::storeReleaseSystem(&flags[0], value);
  if (answer == 0) return;
  while (ptx::loadAcquireSystem(&flags[1]) != value) {
  }
}

CUDA_KERNEL(selftest_add);
CUDA_KERNEL(selftest_parameters);
CUDA_KERNEL(selftest_out_of_bounds);
CUDA_KERNEL(selftest_prefetch_at);
CUDA_KERNEL(selftest_write_at);
CUDA_KERNEL(selftest_shared_overrun);
CUDA_KERNEL(selftest_missing_barrier);
CUDA_KERNEL(selftest_hang);
CUDA_KERNEL(selftest_spin);
CUDA_KERNEL(selftest_missing_wait);
CUDA_KERNEL(selftest_divergent);
CUDA_KERNEL(selftest_divide);
CUDA_KERNEL(selftest_misaligned);
CUDA_KERNEL(selftest_reduce);
CUDA_KERNEL(selftest_grid_barrier);
CUDA_KERNEL(selftest_mma);
CUDA_KERNEL(selftest_flag);
