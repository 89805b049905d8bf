// The stand-in for libcuda: it exports the driver's functions under the same names as libcuda.so.1, and runs kernels on
// the CPU. Tests use this header to set up the emulated device, to inject failures and to read what happened.
//
// All functions may be called from any thread. Functions that change the setup wait until everything queued has run.
#ifndef CUDA_ON_CPU_H
#define CUDA_ON_CPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The emulated machine. cuInit and later calls read it; start from `cuda_on_cpu_default_configuration()`.
typedef struct CUDAOnCPUConfiguration {
  /// 0 or 1; with 0, cuInit returns CUDA_ERROR_NO_DEVICE.
  int32_t deviceCount;
  /// The version that cuDriverGetVersion returns: 12010 is 12.1. It also bounds the PTX version that modules may have.
  int32_t driverVersion;
  /// Compute capability, 80 for 8.0. Modules with a higher `.target` are refused.
  int32_t capability;
  int32_t multiprocessorCount;
  /// The most blocks of a kernel that one multiprocessor runs at once, as registers limit them on a GPU; 0 for no limit
  /// besides threads and shared memory.
  int32_t blocksPerMultiprocessor;
  /// Size of device memory; an allocation beyond it fails with CUDA_ERROR_OUT_OF_MEMORY.
  uint64_t memoryByteCount;
  /// The most dynamic shared memory that a function may be granted for a block. Up to 48 KiB need no permission.
  int32_t sharedMemoryByteCount;
  int32_t l2ByteCount;
  /// Memory clock in kHz and bus width in bits; 0 means that the driver does not report it.
  int32_t memoryClock;
  int32_t memoryBusWidth;
  /// Milliseconds for which a launch's threads may only spin and wait before it fails with CUDA_ERROR_LAUNCH_TIMEOUT.
  uint32_t spinLimit;
  /// The number of a CUdevice_attribute whose query fails with CUDA_ERROR_INVALID_VALUE; 0 for none.
  int32_t failingAttribute;
  /// Cooperative launches that fail with CUDA_ERROR_NOT_SUPPORTED: 0 for none, 1 for launches captured from a stream, 2
  /// for all.
  int32_t refusedCooperativeLaunches;
} CUDAOnCPUConfiguration;

/// Counts of events in kernels and streams since the counters were last reset.
typedef struct CUDAOnCPUCounters {
  /// Executed kernel launches, including the nodes of graphs.
  uint64_t launches;
  uint64_t graphLaunches;
  /// Completed __syncthreads, once for each block.
  uint64_t blockBarriers;
  /// Grid barriers (ptx::gridArrive), once for each grid.
  uint64_t gridBarriers;
  /// Bytes read by ptx::loadStream.
  uint64_t streamedBytes;
  /// Calls of ptx::mma, once for each warp, and of ptx::dp4a and dp4aSigned, once for each thread.
  uint64_t matrixProducts;
  uint64_t dotProducts;
  /// Bytes copied by ptx::copyAsync16 and copyAsync16Zero (including zeros), and the number of copies that their thread
  /// never waited for.
  uint64_t asyncCopyBytes;
  uint64_t droppedAsyncCopies;
  /// Switches from one CUDA thread to another.
  uint64_t threadSwitches;
} CUDAOnCPUCounters;

/// Returns 1. Programs recognise a driver with emulated devices by this exported function.
int32_t cuda_on_cpu_is_emulator(void);

/// One device of compute capability 8.0 with 4 multiprocessors, 2 GiB and 99 KiB of shared memory, under driver 12.1.
CUDAOnCPUConfiguration cuda_on_cpu_default_configuration(void);

/// Replaces the configuration. The environment is then ignored.
///
/// Without this call, cuInit reads CUDA_ON_CPU_DEVICES, CUDA_ON_CPU_DRIVER_VERSION, CUDA_ON_CPU_CAPABILITY,
/// CUDA_ON_CPU_BLOCKS (of a multiprocessor), CUDA_ON_CPU_MEMORY (bytes), CUDA_ON_CPU_SHARED_MEMORY (bytes of a block),
/// CUDA_ON_CPU_SEED, CUDA_ON_CPU_FAILING_ATTRIBUTE and CUDA_ON_CPU_REFUSED_COOPERATIVE_LAUNCHES.
void cuda_on_cpu_configure(CUDAOnCPUConfiguration configuration);

/// Restores the state of a new process: drops every handle and allocation, requires cuInit again, and resets errors,
/// counters, seed and configuration. The caller must ensure that no other thread is inside the driver.
void cuda_on_cpu_reset(void);

/// With 0, CUDA threads run in plain order. Otherwise the order of threads, warps and blocks is drawn from the seed,
/// threads are interrupted at random points, and asynchronous copies sometimes land early. The same seed repeats a run.
void cuda_on_cpu_set_seed(uint64_t seed);

CUDAOnCPUCounters cuda_on_cpu_counters(void);
void cuda_on_cpu_reset_counters(void);

/// Copies the message of the last failure (of a kernel, a module or a function lookup) to `text`, cut to `size` bytes
/// including NUL. Returns its full length without NUL, or 0 if there was no failure since the last reset.
size_t cuda_on_cpu_failure(char *_Nullable text, size_t size);

/// Returns PTX that declares the self-test kernels (kernels/selftest.cpp), for cuModuleLoadDataEx.
const char *_Nonnull cuda_on_cpu_selftest_ptx(void);

#ifdef __cplusplus
}
#endif
#endif
