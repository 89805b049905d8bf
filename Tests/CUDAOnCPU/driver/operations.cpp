#include "operations.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "control.h"
#include "emulator/memory.h"
#include "emulator/registry.h"

namespace emulator {
namespace {

struct Queue {
  std::mutex mutex;
  std::condition_variable submitted;
  std::condition_variable finished;
  std::deque<Operation> waiting;
  uint64_t submittedCount = 0;
  uint64_t doneCount = 0;
  // The first operation that an OS thread waits for; no thread is woken before it is done.
  uint64_t awaited = ~uint64_t{0};
  bool isRunning = false;
  std::atomic<int> stickyError = success;
};

// Never destroyed: its OS thread runs until the process ends.
Queue &shared() {
  static auto &queue = *new Queue;
  return queue;
}

Result failure(Result result, const std::string &text) {
  control::reportFailure(text);
  return result;
}

Result execute(const KernelLaunch &operation) {
  std::vector<void *> arguments;
  size_t offset = 0;
  for (size_t size : operation.kernel->parameterSizes) {
    // Kernels take their parameters by value, so they do not write through this pointer.
    arguments.push_back(const_cast<unsigned char *>(operation.parameters.data() + offset));
    offset += (size + 15) / 16 * 16;
  }
  const LaunchShape &shape = operation.shape;
  Launch launch(*operation.kernel, arguments.data(), shape, control::seedOfNextLaunch(),
                control::configuration().spinLimit);
  const Result result = launch.run();
  control::countLaunch(execution.counts, uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z);
  if (result != success) return failure(result, launch.message);
  const std::string damage = memory::damage();
  return damage.empty() ? success : failure(illegalAddress, "kernel " + operation.kernel->name + " " + damage);
}

Result execute(const Copy &operation) {
  // The ranges were checked on submission, but memory may have been freed since, and graphs run repeatedly.
  if ((operation.toDevice && !memory::contains(operation.to, operation.byteCount)) ||
      (operation.fromDevice && !memory::contains(operation.from, operation.byteCount)))
    return failure(illegalAddress, "a queued copy uses memory that was freed");
  const void *from = operation.staged ? operation.staged->data() : reinterpret_cast<const void *>(operation.from);
  memmove(reinterpret_cast<void *>(operation.to), from, operation.byteCount);
  return success;
}

Result execute(const Fill &operation) {
  if (!memory::contains(operation.to, operation.byteCount))
    return failure(illegalAddress, "a queued memset uses memory that was freed");
  memset(reinterpret_cast<void *>(operation.to), operation.byte, operation.byteCount);
  return success;
}

Result execute(const Record &operation) {
  operation.event->time = std::chrono::steady_clock::now();
  return success;
}

Result execute(const Operation &operation);

Result execute(const GraphRun &operation) {
  control::countGraphLaunch();
  for (const Operation &node : *operation.nodes)
    if (const Result result = execute(node); result != success) return result;
  return success;
}

Result execute(const Operation &operation) {
  return std::visit([](const auto &operation) { return execute(operation); }, operation);
}

[[noreturn]] void work() {
  Queue &queue = shared();
  std::unique_lock lock(queue.mutex);
  for (;;) {
    queue.submitted.wait(lock, [&] { return !queue.waiting.empty(); });
    const Operation operation = std::move(queue.waiting.front());
    queue.waiting.pop_front();
    lock.unlock();
    if (queue.stickyError == success) queue.stickyError = execute(operation);
    lock.lock();
    if (++queue.doneCount < queue.awaited) continue;
    queue.awaited = ~uint64_t{0};
    queue.finished.notify_all();
  }
}

void start() {
  // The library must stay loaded while its OS thread runs, even if it is closed.
  Dl_info info = {};
  if (dladdr(reinterpret_cast<const void *>(&start), &info) != 0) dlopen(info.dli_fname, RTLD_NOW | RTLD_NODELETE);
  // Leave the process's signals to other threads, which have stacks for the handlers. Faults cannot be blocked.
  sigset_t all, before;
  sigfillset(&all);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&all, fault);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread(work).detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace

namespace queue {

uint64_t submit(Operation operation) {
  Queue &queue = shared();
  const std::lock_guard lock(queue.mutex);
  if (!queue.isRunning) {
    start();
    queue.isRunning = true;
  }
  queue.waiting.push_back(std::move(operation));
  queue.submitted.notify_one();
  return ++queue.submittedCount;
}

bool isDone(uint64_t number) {
  const std::lock_guard lock(shared().mutex);
  return shared().doneCount >= number;
}

void wait(uint64_t number) {
  Queue &queue = shared();
  std::unique_lock lock(queue.mutex);
  while (queue.doneCount < number) {
    queue.awaited = std::min(queue.awaited, number);
    queue.finished.wait(lock);
  }
}

void waitForAll() {
  std::unique_lock lock(shared().mutex);
  const uint64_t last = shared().submittedCount;
  lock.unlock();
  wait(last);
}

Result stickyError() { return Result(shared().stickyError.load()); }
void clearStickyError() { shared().stickyError = success; }

}  // namespace queue
}  // namespace emulator
