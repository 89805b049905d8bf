// The stand-in for libcuda: the driver's functions are found in this library by name, as in libcuda.so.1; kernels run
// on the CPU. This header is for tests: it sets up the emulated device, plants circumstances and tells what happened.
//
// All functions may be called from any thread. Those that change the setup wait until everything queued has run.
#ifndef CUDA_ON_CPU_H
#define CUDA_ON_CPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The emulated machine. Read by cuInit and by later calls; start from `cuda_on_cpu_default_configuration()`.
typedef struct CUDAOnCPUConfiguration {
  /// 0 or 1; with 0, cuInit returns CUDA_ERROR_NO_DEVICE.
  int32_t deviceCount;
  /// As cuDriverGetVersion tells it: 12010 is 12.1. It also bounds the PTX version that modules may have.
  int32_t driverVersion;
  /// Compute capability, 80 for 8.0. Modules with a higher `.target` are refused.
  int32_t capability;
  int32_t multiprocessorCount;
  /// The most blocks of a kernel that one multiprocessor runs at once, as registers limit them on a GPU; 0 for what
  /// threads and shared memory leave room for.
  int32_t blocksPerMultiprocessor;
  /// Device memory; an allocation beyond it is CUDA_ERROR_OUT_OF_MEMORY.
  uint64_t memoryByteCount;
  /// The most dynamic shared memory a block may have when its function was allowed it. 48 KiB need no permission.
  int32_t sharedMemoryByteCount;
  int32_t l2ByteCount;
  /// Memory clock in kHz and bus width in bits; 0 means that the driver does not tell.
  int32_t memoryClock;
  int32_t memoryBusWidth;
  /// A launch fails with CUDA_ERROR_LAUNCH_TIMEOUT when for so many milliseconds its threads have only spun and waited.
  uint32_t spinLimit;
  /// The number of a CUdevice_attribute whose query fails with CUDA_ERROR_INVALID_VALUE; 0 for none.
  int32_t failingAttribute;
  /// Cooperative launches that fail with CUDA_ERROR_NOT_SUPPORTED: 0 for none, 1 for those that a stream records, 2 for
  /// all.
  int32_t refusedCooperativeLaunches;
} CUDAOnCPUConfiguration;

/// What kernels and streams have done since the last reset of the counters.
typedef struct CUDAOnCPUCounters {
  /// Kernel launches that were executed, those of graphs included.
  uint64_t launches;
  uint64_t graphLaunches;
  /// __syncthreads that were passed, once for each block.
  uint64_t blockBarriers;
  /// Barriers of a whole grid (ptx::gridArrive), once for each grid.
  uint64_t gridBarriers;
  /// Bytes read by ptx::loadStream.
  uint64_t streamedBytes;
  /// ptx::mma, once for each warp; ptx::dp4a and dp4aSigned, once for each thread.
  uint64_t matrixProducts;
  uint64_t dotProducts;
  /// Bytes copied by ptx::copyAsync16 and copyAsync16Zero (zeros included), and copies that their thread never waited
  /// for.
  uint64_t asyncCopyBytes;
  uint64_t droppedAsyncCopies;
  /// Switches from one CUDA thread to another.
  uint64_t threadSwitches;
} CUDAOnCPUCounters;

/// Returns 1. That a driver's library exports this function tells programs that its devices are emulated.
int32_t cuda_on_cpu_is_emulator(void);

/// One device of compute capability 8.0 with 4 multiprocessors, 2 GiB and 99 KiB of shared memory, under driver 12.1.
CUDAOnCPUConfiguration cuda_on_cpu_default_configuration(void);

/// Replaces the configuration. The environment (see below) is then no longer looked at.
///
/// Without this call cuInit reads CUDA_ON_CPU_DEVICES, CUDA_ON_CPU_DRIVER_VERSION, CUDA_ON_CPU_CAPABILITY,
/// CUDA_ON_CPU_BLOCKS (of a multiprocessor), CUDA_ON_CPU_MEMORY (bytes), CUDA_ON_CPU_SHARED_MEMORY (bytes of a block),
/// CUDA_ON_CPU_SEED, CUDA_ON_CPU_FAILING_ATTRIBUTE and CUDA_ON_CPU_REFUSED_COOPERATIVE_LAUNCHES.
void cuda_on_cpu_configure(CUDAOnCPUConfiguration configuration);

/// As if the process had just started: every handle and allocation is gone, cuInit is needed again, errors, counters,
/// seed and configuration are back to their first state. The caller makes sure that no other thread is inside the
/// driver.
void cuda_on_cpu_reset(void);

/// 0: CUDA threads run in plain order. Otherwise the order of threads, warps and blocks is drawn from the seed, threads
/// are interrupted at random points, and asynchronous copies sometimes land early. The same seed gives the same run.
void cuda_on_cpu_set_seed(uint64_t seed);

CUDAOnCPUCounters cuda_on_cpu_counters(void);
void cuda_on_cpu_reset_counters(void);

/// Copies the text of the last failure (of a kernel, a module or a function lookup) to `text`, cut to `size` bytes with
/// its NUL. Returns its whole length without NUL; 0 when there was none since the last reset.
size_t cuda_on_cpu_failure(char *_Nullable text, size_t size);

/// A PTX text that declares the self-test kernels (kernels/selftest.cpp), for cuModuleLoadDataEx.
const char *_Nonnull cuda_on_cpu_selftest_ptx(void);

#ifdef __cplusplus
}
#endif
#endif
