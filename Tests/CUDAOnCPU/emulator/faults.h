// Turns faults of kernels (bad addresses, division by zero) into failures of their launch.
#pragma once

#include <string>

#include "threads.h"

#pragma GCC visibility push(hidden)

namespace emulator {

// Ensures that faults on this OS thread are caught while a kernel runs. Other faults go to the previous handlers.
void enterFaultHandling();
// Describes the last fault in words.
std::string describeFault(const Launch &launch);

}  // namespace emulator

#pragma GCC visibility pop
