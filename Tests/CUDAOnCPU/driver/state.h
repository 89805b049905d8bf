// The driver's objects and the common part of every cu* function.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "control.h"
#include "operations.h"
#include "ptx_text.h"

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;

// Starts the signature of an exported function.
#define CUDA_API extern "C" __attribute__((visibility("default"))) CUresult

#pragma GCC visibility push(hidden)

namespace emulator::driver {

// Handles are numbers that are never reused, so a stale one is always detected.
template <class Object>
class Handles {
 public:
  void *add(std::shared_ptr<Object> object) {
    void *handle = reinterpret_cast<void *>(next);
    next += step;
    objects[handle] = std::move(object);
    return handle;
  }
  std::shared_ptr<Object> find(void *handle) const {
    const auto found = objects.find(handle);
    return found == objects.end() ? nullptr : found->second;
  }
  bool remove(void *handle) { return objects.erase(handle) != 0; }
  void clear() { objects.clear(); }
  auto begin() const { return objects.begin(); }
  auto end() const { return objects.end(); }
  template <class Condition>
  void removeAll(Condition condition) {
    std::erase_if(objects, [&](const auto &entry) { return condition(*entry.second); });
  }

  explicit Handles(uintptr_t kind) : next(kind << 32 | step) {}

 private:
  static constexpr uintptr_t step = 16;
  uintptr_t next;
  std::map<void *, std::shared_ptr<Object>> objects;
};

struct Stream {
  bool isBlocking;
  uint64_t last = 0;  // its last operation's number in the queue

  // Capture
  enum class Capture { none, active, invalidated } capture = Capture::none;
  int captureMode = 0;
  std::thread::id capturer = {};
  std::vector<Operation> captured = {};
};

struct Event {
  bool hasTiming;
  bool wasRecorded = false;
  void *capturedOn = nullptr;  // the stream, when it was last recorded in a capture
  uint64_t last = 0;
  std::shared_ptr<EventState> state = {};
};

struct Module {
  std::vector<PTXEntry> entries;
};

struct Function {
  const Module *module;
  const Kernel *kernel;
  int maximumThreads;
  int allowedSharedByteCount = 48 << 10;
};

struct Graph {
  std::shared_ptr<const std::vector<Operation>> nodes;
};

struct State {
  std::mutex mutex;
  bool isInitialized = false;

  // The primary context; its handle changes each time the context is created.
  void *context = nullptr;
  uintptr_t contextCount = 0;
  int retainCount = 0;

  Stream nullStream{true};
  Handles<Stream> streams{0x51};
  Handles<Event> events{0x52};
  Handles<Module> modules{0x53};
  Handles<Function> functions{0x54};
  Handles<Graph> graphs{0x55};
  Handles<Graph> executables{0x56};

  // Returns null for an unknown handle; the null handle is the default stream.
  Stream *stream(void *handle) { return handle ? streams.find(handle).get() : &nullStream; }
  void destroyContext();
};

State &state();
// The context that the calling OS thread has made current.
extern thread_local constinit void *currentContext;

enum class Needs { initialization, context };

// Runs the body of a cu* function with the state locked, if its needs are met. Every function that needs a context
// returns the errors of kernels.
template <class Body>
CUresult call(Needs needs, Body body) noexcept {
  State &s = state();
  std::unique_lock lock(s.mutex);
  if (!s.isInitialized) return notInitialized;
  if (needs == Needs::context) {
    if (!currentContext || currentContext != s.context) return invalidContext;
    if (const Result error = queue::stickyError(); error != success) return error;
  }
  return body(s, lock);
}

// Waits with the state unlocked. Returns the error that kernels have left, if any.
CUresult waitFor(uint64_t number, std::unique_lock<std::mutex> &lock);

// Reports a call that is not allowed during a capture: invalidates the captures that it disturbs and returns their
// error. `always` is for calls that disturb captures of every mode.
CUresult disturbCaptures(State &state, bool always);

// Queues the operation, or adds it to the stream's capture.
CUresult submit(State &state, Stream &stream, Operation operation);

// Returns how many blocks of the function a multiprocessor runs at a time; 0 if it cannot run one.
int blocksPerMultiprocessor(const Function &function, int threads, size_t sharedByteCount);

// Restores the state before the first call.
void reset();

}  // namespace emulator::driver

#pragma GCC visibility pop
