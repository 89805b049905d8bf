// The state that tests set and read through CUDAOnCPU.h. All functions may be called from any OS thread.
#pragma once

#include <cstdint>
#include <string>

#include "CUDAOnCPU.h"
#include "emulator/threads.h"

#pragma GCC visibility push(hidden)

namespace emulator::control {

CUDAOnCPUConfiguration configuration();
// Reads the environment, unless the configuration was set by cuda_on_cpu_configure.
void readEnvironment();

// Returns a seed for the next launch, drawn from the configured seed; 0 stays 0.
uint64_t seedOfNextLaunch();

void countLaunch(const KernelCounts &counts, uint64_t blockCount);
void countGraphLaunch();

// Writes the text to stderr and keeps it for cuda_on_cpu_failure.
void reportFailure(const std::string &text);

}  // namespace emulator::control

#pragma GCC visibility pop
