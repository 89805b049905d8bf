// What the emulator knows of a CUDA thread, its warp and its block. Kernels read these through threadIdx and the like.
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <vector>

#include "vectors.h"

#pragma GCC visibility push(hidden)

namespace emulator {

struct Block;
struct Launch;
struct Stack;
struct Warp;

// The line of the kernel that called a builtin; every builtin that can fail or wait takes it as a default argument.
using Location = std::source_location;

// A cp.async that has not landed yet.
struct AsyncCopy {
  void *shared;
  const void *global;  // null: sixteen zeros
  uint32_t group;
};

struct Thread {
  uint3 index;
  uint32_t lane;
  Warp *warp;
  Block *block;

  // Null until the thread first runs and after it has ended.
  Stack *stack = nullptr;
  void *stackPointer = nullptr;

  // What the thread last waited in, for messages.
  const char *waitsIn = nullptr;
  Location where;

  // Copies from `landed` on are under way. Their groups count up; `openGroup` is the one that copies join now.
  std::vector<AsyncCopy> copies;
  size_t landed = 0;
  uint32_t openGroup = 0;

  // The last acquiring load, and Execution::progress after it.
  const unsigned *polledAddress = nullptr;
  unsigned polledValue = 0;
  uint64_t polledProgress = ~uint64_t{0};

  uint32_t bit() const { return uint32_t{1} << lane; }
};

// Lanes that meet in one collective. Disjoint groups of a warp may wait in different ones.
struct Meeting {
  uint32_t kind;
  uint32_t mask;
  uint32_t arrived;
};

struct MatrixOperands {
  unsigned a[4];
  unsigned b[2];
  int *c;
};

struct Warp {
  Block *block;
  Thread *threads;  // 32, the last warp of a block perhaps fewer
  uint32_t index;

  // Lanes, a bit each. A live lane is running, ready, has yielded, waits at the block's barrier or in a meeting.
  uint32_t alive;
  uint32_t ready;
  uint32_t yielded;
  uint32_t atBarrier;

  uint32_t meetingCount;
  Meeting meetings[32];

  // What the lanes bring to a meeting and take from it. The last lane to come works for all.
  uint64_t values[32];
  uint64_t outcomes[32];
  uint8_t sources[32];
  MatrixOperands operands[32];
};

struct Block {
  uint3 index;
  Launch *launch;
  dim3 gridSize;
  dim3 blockSize;

  unsigned char *shared;
  size_t sharedByteCount;

  std::vector<Thread> threads;
  std::vector<Warp> warps;
  uint32_t live;        // threads that have not ended
  uint32_t arrived;     // threads at the barrier
  uint32_t readyWarps;  // a bit for each warp that may have ready lanes
};

// Counted by kernels as they run; added to the totals when the launch ends.
struct KernelCounts {
  uint64_t blockBarriers;
  uint64_t gridBarrierCalls;
  uint64_t streamedBytes;
  uint64_t matrixProducts;
  uint64_t dotProducts;
  uint64_t asyncCopyBytes;
  uint64_t droppedAsyncCopies;
  uint64_t threadSwitches;
};

// What runs on this OS thread. `thread` is null outside of kernels.
struct Execution {
  Thread *thread;
  Launch *launch;
  bool seeded;
  // Grows when something happens that spinning threads may be waiting for: memory changes by an atomic or a releasing
  // store, or a thread ends. Barriers and collectives do not count, as threads may spin together.
  uint64_t progress;
  KernelCounts counts;
  // Looks at a clock (ptx::ticks).
  uint64_t ticks;
};

extern thread_local constinit Execution execution __attribute__((tls_model("initial-exec")));

}  // namespace emulator

#pragma GCC visibility pop
