// Kernel launches.
#include <algorithm>
#include <cstring>

#include "state.h"
#include "emulator/registry.h"

using namespace emulator;
using namespace emulator::driver;

int driver::blocksPerMultiprocessor(const Function &function, int threads, size_t sharedByteCount) {
  if (threads > function.maximumThreads) return 0;
  if (sharedByteCount > size_t(control::configuration().sharedMemoryByteCount)) return 0;
  // Threads occupy whole warps, and the system reserves 1 KiB of shared memory for each block.
  const size_t byThreads = 2048 / (size_t(threads + 31) / 32 * 32);
  const size_t byMemory = (size_t{164} << 10) / (sharedByteCount + (1 << 10));
  const int limit = control::configuration().blocksPerMultiprocessor;
  return int(std::min({byThreads, byMemory, size_t(limit > 0 ? limit : 32)}));
}

static CUresult launch(void *handle, dim3 grid, dim3 block, unsigned sharedByteCount, void *streamHandle,
                       void **parameters, bool cooperative) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    const auto function = s.functions.find(handle);
    Stream *stream = s.stream(streamHandle);
    if (!function || !stream) return invalidHandle;
    const int refused = control::configuration().refusedCooperativeLaunches;
    if (cooperative && (refused == 2 || (refused == 1 && stream->capture != Stream::Capture::none)))
      return notSupported;
    if (grid.x == 0 || grid.x > 0x7FFFFFFF || grid.y == 0 || grid.y > 65535 || grid.z == 0 || grid.z > 65535)
      return invalidValue;
    const uint64_t threads = uint64_t{block.x} * block.y * block.z;
    if (threads == 0 || block.x > 1024 || block.y > 1024 || block.z > 64 || threads > 1024) return invalidValue;
    if (threads > uint64_t(function->maximumThreads)) return launchOutOfResources;
    if (sharedByteCount > unsigned(function->allowedSharedByteCount)) return invalidValue;
    const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
    const int resident = blocksPerMultiprocessor(*function, int(threads), sharedByteCount);
    if (cooperative && blocks > uint64_t(resident) * uint64_t(control::configuration().multiprocessorCount))
      return cooperativeLaunchTooLarge;

    KernelLaunch operation{function->kernel, {grid, block, sharedByteCount, cooperative}, {}};
    const std::vector<size_t> &sizes = function->kernel->parameterSizes;
    if (!sizes.empty() && !parameters) return invalidValue;
    for (size_t p = 0; p < sizes.size(); p++) {
      if (!parameters[p]) return invalidValue;
      const size_t offset = operation.parameters.size();
      operation.parameters.resize(offset + (sizes[p] + 15) / 16 * 16);
      memcpy(operation.parameters.data() + offset, parameters[p], sizes[p]);
    }
    return submit(s, *stream, std::move(operation));
  });
}

CUDA_API cuLaunchKernel(void *function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                        unsigned blockY, unsigned blockZ, unsigned sharedByteCount, void *stream, void **parameters,
                        void **extra) {
  // `extra` would pass the parameters in one packed buffer.
  if (extra) return notSupported;
  return launch(function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, sharedByteCount, stream, parameters, false);
}

CUDA_API cuLaunchCooperativeKernel(void *function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                                   unsigned blockY, unsigned blockZ, unsigned sharedByteCount, void *stream,
                                   void **parameters) {
  return launch(function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, sharedByteCount, stream, parameters, true);
}
