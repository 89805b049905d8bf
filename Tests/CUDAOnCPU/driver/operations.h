// The operations of streams, their queue, and the OS thread that executes them in the order of submission.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "emulator/launch.h"

#pragma GCC visibility push(hidden)

namespace emulator {

struct KernelLaunch {
  const Kernel *kernel;
  LaunchShape shape;
  // The parameters in order, each at a multiple of 16.
  std::vector<unsigned char> parameters;
};

struct Copy {
  uintptr_t to;
  uintptr_t from;
  size_t byteCount;
  // The contents of pageable host memory when the copy was submitted; `from` is then unused.
  std::shared_ptr<const std::vector<unsigned char>> staged;
  bool toDevice;
  bool fromDevice;
};

struct Fill {
  uintptr_t to;
  unsigned char byte;
  size_t byteCount;
};

struct EventState {
  std::chrono::steady_clock::time_point time;
};
struct Record {
  std::shared_ptr<EventState> event;
};

struct GraphRun;
using Operation = std::variant<KernelLaunch, Copy, Fill, Record, GraphRun>;

struct GraphRun {
  std::shared_ptr<const std::vector<Operation>> nodes;
};

// The queue. Operations are numbered from 1; operation 0 is always done.
namespace queue {

uint64_t submit(Operation operation);
bool isDone(uint64_t number);
void wait(uint64_t number);
void waitForAll();

// Returns the error of a failed operation; later operations are skipped until it is cleared.
Result stickyError();
void clearStickyError();

}  // namespace queue
}  // namespace emulator

#pragma GCC visibility pop
