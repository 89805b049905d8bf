#include "control.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "state.h"
#include "emulator/memory.h"
#include "emulator/random.h"
#include "emulator/registry.h"

namespace emulator {
namespace {

struct Control {
  std::mutex mutex;
  CUDAOnCPUConfiguration configuration = cuda_on_cpu_default_configuration();
  bool isConfigured = false;
  Random seeds;
  bool isSeeded = false;
  CUDAOnCPUCounters counters = {};
  std::string failure;
};

// Never destroyed: kernels may still be running when the process ends.
Control &shared() {
  static auto &control = *new Control;
  return control;
}

void setSeed(Control &control, uint64_t seed) {
  control.seeds = Random{seed};
  control.isSeeded = seed != 0;
}

}  // namespace

namespace control {

CUDAOnCPUConfiguration configuration() {
  const std::lock_guard lock(shared().mutex);
  return shared().configuration;
}

void readEnvironment() {
  Control &control = shared();
  const std::lock_guard lock(control.mutex);
  if (!control.isConfigured) {
    const auto read = [](const char *name, auto &value) {
      const char *text = getenv(name);
      if (text && *text) value = static_cast<std::remove_reference_t<decltype(value)>>(strtoull(text, nullptr, 10));
    };
    read("CUDA_ON_CPU_DEVICES", control.configuration.deviceCount);
    read("CUDA_ON_CPU_DRIVER_VERSION", control.configuration.driverVersion);
    read("CUDA_ON_CPU_CAPABILITY", control.configuration.capability);
    read("CUDA_ON_CPU_BLOCKS", control.configuration.blocksPerMultiprocessor);
    read("CUDA_ON_CPU_MEMORY", control.configuration.memoryByteCount);
    read("CUDA_ON_CPU_SHARED_MEMORY", control.configuration.sharedMemoryByteCount);
    read("CUDA_ON_CPU_FAILING_ATTRIBUTE", control.configuration.failingAttribute);
    read("CUDA_ON_CPU_REFUSED_COOPERATIVE_LAUNCHES", control.configuration.refusedCooperativeLaunches);
    uint64_t seed = 0;
    read("CUDA_ON_CPU_SEED", seed);
    if (seed != 0) setSeed(control, seed);
  }
  memory::setLimit(control.configuration.memoryByteCount);
}

uint64_t seedOfNextLaunch() {
  const std::lock_guard lock(shared().mutex);
  return shared().isSeeded ? shared().seeds.next() | 1 : 0;
}

void countLaunch(const KernelCounts &counts, uint64_t blockCount) {
  const std::lock_guard lock(shared().mutex);
  CUDAOnCPUCounters &totals = shared().counters;
  totals.launches++;
  totals.blockBarriers += counts.blockBarriers;
  totals.gridBarriers += counts.gridBarrierCalls / blockCount;
  totals.streamedBytes += counts.streamedBytes;
  totals.matrixProducts += counts.matrixProducts;
  totals.dotProducts += counts.dotProducts;
  totals.asyncCopyBytes += counts.asyncCopyBytes;
  totals.droppedAsyncCopies += counts.droppedAsyncCopies;
  totals.threadSwitches += counts.threadSwitches;
}

void countGraphLaunch() {
  const std::lock_guard lock(shared().mutex);
  shared().counters.graphLaunches++;
}

void reportFailure(const std::string &text) {
  fprintf(stderr, "CUDAOnCPU: %s\n", text.c_str());
  const std::lock_guard lock(shared().mutex);
  shared().failure = text;
}

}  // namespace control
}  // namespace emulator

using namespace emulator;

int32_t cuda_on_cpu_is_emulator() { return 1; }

CUDAOnCPUConfiguration cuda_on_cpu_default_configuration() {
  CUDAOnCPUConfiguration configuration = {};
  configuration.deviceCount = 1;
  configuration.driverVersion = 12010;
  configuration.capability = 80;
  configuration.multiprocessorCount = 4;
  configuration.memoryByteCount = uint64_t{2} << 30;
  configuration.sharedMemoryByteCount = 227 << 10;
  configuration.l2ByteCount = 4 << 20;
  configuration.spinLimit = 1000;
  return configuration;
}

void cuda_on_cpu_configure(CUDAOnCPUConfiguration configuration) {
  queue::waitForAll();
  const std::lock_guard lock(shared().mutex);
  shared().configuration = configuration;
  shared().isConfigured = true;
  memory::setLimit(configuration.memoryByteCount);
}

void cuda_on_cpu_reset() {
  driver::reset();
  Control &control = shared();
  const std::lock_guard lock(control.mutex);
  control.configuration = cuda_on_cpu_default_configuration();
  control.isConfigured = false;
  setSeed(control, 0);
  control.counters = {};
  control.failure.clear();
}

void cuda_on_cpu_set_seed(uint64_t seed) {
  queue::waitForAll();
  const std::lock_guard lock(shared().mutex);
  setSeed(shared(), seed);
}

CUDAOnCPUCounters cuda_on_cpu_counters() {
  queue::waitForAll();
  const std::lock_guard lock(shared().mutex);
  return shared().counters;
}

void cuda_on_cpu_reset_counters() {
  queue::waitForAll();
  const std::lock_guard lock(shared().mutex);
  shared().counters = {};
}

size_t cuda_on_cpu_failure(char *text, size_t size) {
  const std::lock_guard lock(shared().mutex);
  const std::string &failure = shared().failure;
  if (text && size > 0) snprintf(text, size, "%s", failure.c_str());
  return failure.size();
}

const char *cuda_on_cpu_selftest_ptx() {
  static const auto &text = *new std::string([] {
    std::string text =
        "// Declarations of the self-test kernels for the emulator.\n.version 8.1\n.target sm_80\n.address_size 64\n";
    for (const Kernel *kernel : kernels("selftest_")) {
      text += "\n.visible .entry " + kernel->name + "(";
      for (size_t p = 0; p < kernel->parameterSizes.size(); p++) {
        const size_t size = kernel->parameterSizes[p];
        const std::string name = kernel->name + "_param_" + std::to_string(p);
        text += p == 0 ? "\n" : ",\n";
        if (size == 4 || size == 8)
          text += "\t.param .u" + std::to_string(8 * size) + " " + name;
        else
          text += "\t.param .align 8 .b8 " + name + "[" + std::to_string(size) + "]";
      }
      text += "\n)\n.maxntid 1024, 1, 1\n{\n\tret;\n}\n";
    }
    return text;
  }());
  return text.c_str();
}
