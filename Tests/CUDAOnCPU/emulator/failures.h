// Failures of kernels, and how a launch is left because of one.
#pragma once

#include <string>

#include "results.h"
#include "threads.h"

#pragma GCC visibility push(hidden)

namespace emulator {

// The running thread did something wrong, told as the rest of a sentence about it; ends the launch.
[[noreturn]] void fail(Result result, const char *what, Location where);
// Ends a launch whose failure is already entered in it.
[[noreturn]] void abandonLaunch();

std::string textOf(uint3 index);
std::string textOf(Location where);
// Kernel, block and thread.
std::string placeOf(const Thread &thread);
// Which living threads wait where.
std::string waitersOf(const Launch &launch);

}  // namespace emulator

#pragma GCC visibility pop
