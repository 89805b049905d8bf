// Faults of kernels (bad addresses, division by zero) become failures of their launch.
#pragma once

#include <string>

#include "threads.h"

#pragma GCC visibility push(hidden)

namespace emulator {

// Makes sure that faults on this OS thread are caught while a kernel runs. Other faults go to the handlers that were
// there before.
void enterFaultHandling();
// The last fault, in words.
std::string describeFault(const Launch &launch);

}  // namespace emulator

#pragma GCC visibility pop
