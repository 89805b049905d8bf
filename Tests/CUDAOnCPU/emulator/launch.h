// One launch of a kernel, and the scheduler that runs its threads.
//
// A thread runs until it has to wait, then switches directly to the next ready thread. In plain order that is the
// lowest ready lane of the same warp, then the lowest ready warp of the block, then the next block of a cooperative
// launch. Few stacks are then in use, and threads run as far apart as possible. With a seed, every choice is random.
#pragma once

#include <bit>
#include <chrono>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "fibers.h"
#include "random.h"
#include "results.h"
#include "threads.h"

#pragma GCC visibility push(hidden)

namespace emulator {

struct Kernel;
class SharedArea;

struct LaunchShape {
  dim3 grid;
  dim3 block;
  uint32_t sharedByteCount;
  bool cooperative;
};

struct LateStore {
  float *address;
  float value;
  const Block *block;
};

struct Launch {
  const Kernel *kernel;
  void *const *arguments;
  LaunchShape shape;
  uint32_t spinLimit;  // milliseconds

  StackBounds osStack;
  void *osStackPointer = nullptr;
  void *osFakeStack = nullptr;

  std::vector<Block> blocks;  // one that is reused, or all blocks of a cooperative grid
  std::vector<SharedArea *> areas;
  uint32_t currentBlock = 0;

  // Relaxed stores that other blocks cannot see yet, at most one to each address, and their places by address.
  std::vector<LateStore> lateStores;
  std::unordered_map<const float *, size_t> lateAddresses;

  Random random;
  uint32_t order = 0;     // the lane and warp with the highest priority, when drawing by priority
  bool uniform = false;  // draw with equal probabilities instead

  // Consecutive rounds in which every thread that was not waiting only spun, and the time when they began.
  uint64_t progressAtLastRound = 0;
  uint32_t fruitlessRounds = 0;
  std::chrono::steady_clock::time_point fruitlessSince;

  // Set before the launch is abandoned.
  Result failure = success;
  std::string message;

  Launch(const Kernel &kernel, void *const *arguments, const LaunchShape &shape, uint64_t seed, uint32_t spinLimit);
  ~Launch();
  Launch(const Launch &) = delete;
  Launch &operator=(const Launch &) = delete;

  // Makes a late store visible.
  void land(size_t index);

  // Runs the grid on the calling OS thread and returns its result; `message` then describes a failure.
  Result run();

  // Returns the next thread to run, no longer marked as ready, or null when no thread is alive. Does not return when
  // live threads exist but none can run.
  Thread *next() {
    // In plain order the same warp runs as long as it can.
    if (!execution.seeded && execution.thread) {
      Warp &warp = *execution.thread->warp;
      if (warp.ready != 0) return take(warp, uint32_t(std::countr_zero(warp.ready)));
    }
    return search();
  }

 private:
  // Clears the lane's ready bit. Warps without ready lanes leave `readyWarps` only when a search finds them.
  static Thread *take(Warp &warp, uint32_t lane) {
    warp.ready &= ~(uint32_t{1} << lane);
    return &warp.threads[lane];
  }

  Thread *search();
  void prepare(Block &block, uint64_t number);
  Result runReadyBlocks();
  Thread *firstReady(Block &block);
  Thread *drawReady(Block &block);
  uint32_t draw(uint32_t mask);
  bool wakeYielded();
  void checkSharedMemory(const Block &block, const SharedArea &area);
  void abandoned();
};

// Returns the stacks of the single OS thread that runs kernels.
StackPool &stackPool();

// Scheduling, for the builtins. All of them act on the running thread.

// Lets other threads run until one makes this thread ready; the caller has already recorded what this thread waits for.
void suspend(const char *what, Location where);
// Lets every other thread that can run do so first.
void yieldThread(const char *what, Location where);
// Lets another thread run, chosen at random.
void preempt();
void makeReady(Warp &warp, uint32_t lanes);

// Marks a point where a seeded run may switch to another thread.
inline void schedulingPoint() {
  if (__builtin_expect(execution.seeded, false) && execution.launch->random.oneIn(16)) preempt();
}

// Completes the collectives and barriers that were only waiting for threads that have ended.
void leaveMeetings(Warp &warp);
void releaseBarrierIfComplete(Block &block);

}  // namespace emulator

#pragma GCC visibility pop
