// Failures of kernels, which end their launch.
#pragma once

#include <string>

#include "results.h"
#include "threads.h"

#pragma GCC visibility push(hidden)

namespace emulator {

// Ends the launch because of a mistake of the running thread. `what` continues a sentence that starts with the thread.
[[noreturn]] void fail(Result result, const char *what, Location where);
// Ends a launch that already holds its failure.
[[noreturn]] void abandonLaunch();

std::string textOf(uint3 index);
std::string textOf(Location where);
// Names the thread's kernel, block and index.
std::string placeOf(const Thread &thread);
// Lists where the live threads wait.
std::string waitersOf(const Launch &launch);

}  // namespace emulator

#pragma GCC visibility pop
