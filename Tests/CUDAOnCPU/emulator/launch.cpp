#include "launch.h"

#include <algorithm>

#include "failures.h"
#include "faults.h"
#include "registry.h"
#include "shared_memory.h"

namespace emulator {

thread_local constinit Execution execution = {};

// Never destroyed: kernels may still be running when the process ends.
StackPool &stackPool() {
  static auto &pool = *new StackPool;
  return pool;
}

Launch::Launch(const Kernel &kernel, void *const *arguments, const LaunchShape &shape, uint64_t seed,
               uint32_t spinLimit)
    : kernel(&kernel),
      arguments(arguments),
      shape(shape),
      spinLimit(spinLimit),
      osStack(boundsOfOSThread()),
      random{seed} {
  const uint32_t threadCount = shape.block.x * shape.block.y * shape.block.z;
  const uint64_t blockCount = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  if (seed != 0) {
    uniform = random.oneIn(2);
    order = random.below(32);
  }
  // A cooperative grid has few blocks, because the driver has checked that it fits the device.
  blocks.resize(shape.cooperative ? size_t(blockCount) : 1);
  for (Block &block : blocks) {
    SharedArea *area = takeSharedArea(shape.sharedByteCount);
    areas.push_back(area);
    block.launch = this;
    block.gridSize = shape.grid;
    block.blockSize = shape.block;
    block.shared = area->start(shape.sharedByteCount);
    block.sharedByteCount = shape.sharedByteCount;
    block.threads.resize(threadCount);
    block.warps.resize((threadCount + 31) / 32);
    for (uint32_t t = 0; t < threadCount; t++) {
      Thread &thread = block.threads[t];
      thread.index = {t % shape.block.x, t / shape.block.x % shape.block.y, t / (shape.block.x * shape.block.y)};
      thread.lane = t % 32;
      thread.warp = &block.warps[t / 32];
      thread.block = &block;
    }
    for (uint32_t w = 0; w < block.warps.size(); w++) {
      block.warps[w].block = &block;
      block.warps[w].threads = &block.threads[size_t{w} * 32];
      block.warps[w].index = w;
    }
  }
}

Launch::~Launch() {
  for (SharedArea *area : areas) giveSharedArea(area);
}

void Launch::prepare(Block &block, uint64_t number) {
  block.index = {uint32_t(number % shape.grid.x), uint32_t(number / shape.grid.x % shape.grid.y),
                 uint32_t(number / (uint64_t{shape.grid.x} * shape.grid.y))};
  block.live = uint32_t(block.threads.size());
  block.arrived = 0;
  block.bulkCopies.clear();
  block.readyWarps = ~uint32_t{0} >> (32 - block.warps.size());
  for (Warp &warp : block.warps) {
    const uint32_t lanes = std::min(32u, block.live - warp.index * 32);
    warp.alive = warp.ready = ~uint32_t{0} >> (32 - lanes);
    warp.yielded = warp.atBarrier = warp.meetingCount = 0;
  }
  areas[size_t(&block - blocks.data())]->poison(block.sharedByteCount);
}

Result Launch::run() {
  const uint64_t blockCount = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  execution.launch = this;
  execution.seeded = random.state != 0;
  execution.counts = {};
  if (shape.cooperative) {
    for (uint64_t b = 0; b < blockCount; b++) prepare(blocks[b], b);
    runReadyBlocks();
  } else {
    for (uint64_t b = 0; b < blockCount && failure == success; b++) {
      prepare(blocks[0], b);
      runReadyBlocks();
    }
  }
  while (!lateStores.empty()) land(0);
  execution.launch = nullptr;
  return failure;
}

// Runs one thread after another on the same stack, and gives the stack back when the next thread already has one.
CUDA_ON_CPU_UNINSTRUMENTED static void runThreads() {
  Launch &launch = *execution.launch;
  Stack *const stack = execution.thread->stack;
  switchEnded(stack->fakeStack);
  for (;;) {
    Thread &thread = *execution.thread;
    launch.kernel->call(launch.arguments);

    Block &block = *thread.block;
    Warp &warp = *thread.warp;
    execution.progress++;
    execution.counts.droppedAsyncCopies += thread.copies.size() - thread.landed;
    thread.copies.clear();
    thread.landed = 0;
    thread.openGroup = 0;
    thread.polledAddress = nullptr;
    thread.waitsIn = nullptr;
    warp.alive &= ~thread.bit();
    block.live--;
    if (block.live == 0) execution.counts.droppedAsyncCopies += block.bulkCopies.size();
    leaveMeetings(warp);
    releaseBarrierIfComplete(block);

    Thread *const other = launch.next();
    thread.stack = nullptr;
    if (other && !other->stack) {
      other->stack = stack;
      execution.thread = other;
      continue;
    }
    // This stack stays in use until the next switch, but nothing takes one from the pool before that.
    stackPool().give(stack);
    execution.thread = other;
    execution.counts.threadSwitches++;
    void *unused;
    switchStarts(&stack->fakeStack, other ? bounds(*other->stack) : launch.osStack);
    cuda_on_cpu_switch(&unused, other ? other->stackPointer : launch.osStackPointer);
  }
}

static bool giveStack(Thread &thread) {
  thread.stack = stackPool().take();
  if (thread.stack) {
    thread.stackPointer = thread.stack->prepare(runThreads);
    return true;
  }
  execution.launch->failure = launchOutOfResources;
  execution.launch->message = "no memory is left for the stacks of CUDA threads";
  return false;
}

static void switchTo(Thread &other, void **save, void **fakeStack) {
  execution.thread = &other;
  execution.counts.threadSwitches++;
  switchStarts(fakeStack, bounds(*other.stack));
  cuda_on_cpu_switch(save, other.stackPointer);
  // Execution returns here from whichever thread ran last.
  switchEnded(*fakeStack);
}

Result Launch::runReadyBlocks() {
  currentBlock = 0;
  fruitlessRounds = 0;
  progressAtLastRound = execution.progress;
  enterFaultHandling();
  Thread &first = *next();
  if (giveStack(first)) switchTo(first, &osStackPointer, &osFakeStack);
  if (failure != success) {
    if (message.empty()) message = describeFault(*this);
    abandoned();
  }
  execution.thread = nullptr;
  for (size_t b = 0; b < blocks.size() && failure == success; b++) checkSharedMemory(blocks[b], *areas[b]);
  return failure;
}

void Launch::checkSharedMemory(const Block &block, const SharedArea &area) {
  if (area.isIntact(block.sharedByteCount)) return;
  failure = illegalAddress;
  message = "kernel " + kernel->name + ", block " + textOf(block.index) + " wrote just outside of its " +
            std::to_string(block.sharedByteCount) + " bytes of shared memory";
}

void Launch::abandoned() {
  for (Block &block : blocks)
    for (Thread &thread : block.threads)
      if (thread.stack) stackPool().giveAbandoned(std::exchange(thread.stack, nullptr));
}

void suspend(const char *what, Location where) {
  Thread *const self = execution.thread;
  self->waitsIn = what;
  self->where = where;
  Thread *const other = execution.launch->next();
  if (other == self) return;
  if (!other->stack && !giveStack(*other)) abandonLaunch();
  switchTo(*other, &self->stackPointer, &self->stack->fakeStack);
}

void abandonLaunch() {
  Launch &launch = *execution.launch;
  Stack *const stack = execution.thread->stack;
  void *unused;
  switchStarts(&stack->fakeStack, launch.osStack);
  cuda_on_cpu_switch(&unused, launch.osStackPointer);
  __builtin_unreachable();
}

}  // namespace emulator
