// The emulator's state of a CUDA thread, its warp and its block. Kernels read parts of it through threadIdx etc.
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

// A bulk copy that has not landed yet.
struct BulkCopy {
  void *shared;
  const void *global;
  uint32_t byteCount;
  unsigned long long *barrier;
};

struct Thread {
  uint3 index;
  uint32_t lane;
  Warp *warp;
  Block *block;

  // Null until the thread first runs and after it has ended.
  Stack *stack = nullptr;
  void *stackPointer = nullptr;

  // The builtin that the thread last waited in, for messages.
  const char *waitsIn = nullptr;
  Location where;

  // Copies from index `landed` on are in flight. Their group numbers ascend; new copies join `openGroup`.
  std::vector<AsyncCopy> copies;
  size_t landed = 0;
  uint32_t openGroup = 0;

  // The last acquiring load, and Execution::progress after it.
  const unsigned *polledAddress = nullptr;
  unsigned polledValue = 0;
  uint64_t polledProgress = ~uint64_t{0};

  uint32_t bit() const { return uint32_t{1} << lane; }
};

// Lanes that wait for one another in a collective. Disjoint groups of a warp may wait in different ones.
struct Meeting {
  uint32_t kind;
  uint32_t mask;
  uint32_t arrived;
};

struct MatrixOperands {
  unsigned a[4];
  unsigned b[2];
  int *c;
  bool isSigned;  // A
};

struct Warp {
  Block *block;
  Thread *threads;  // 32; possibly fewer in a block's last warp
  uint32_t index;

  // One bit for each lane. A live lane is running, ready, has yielded, or waits at the block's barrier or in a meeting.
  uint32_t alive;
  uint32_t ready;
  uint32_t yielded;
  uint32_t atBarrier;

  uint32_t meetingCount;
  Meeting meetings[32];

  // The operands and results of a meeting for each lane. The last lane to arrive computes them for all.
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
  std::vector<BulkCopy> bulkCopies;
  uint32_t live;        // threads that have not ended
  uint32_t arrived;     // threads at the barrier
  uint32_t readyWarps;  // a bit for each warp that may have ready lanes
};

// Counters of the running kernel, added to the totals when the launch ends.
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

// The launch and CUDA thread that run on this OS thread. `thread` is null outside of kernels.
struct Execution {
  Thread *thread;
  Launch *launch;
  bool seeded;
  // Increases with every event that spinning threads may wait for: a change of memory by an atomic or a releasing
  // store, or the end of a thread. Barriers and collectives do not count, because threads may spin together.
  uint64_t progress;
  KernelCounts counts;
  // The number of clock reads (ptx::ticks).
  uint64_t ticks;
};

extern thread_local constinit Execution execution __attribute__((tls_model("initial-exec")));

}  // namespace emulator

#pragma GCC visibility pop
