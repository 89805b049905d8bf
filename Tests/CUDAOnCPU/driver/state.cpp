#include "state.h"

#include "emulator/memory.h"

namespace emulator::driver {

thread_local constinit void *currentContext = nullptr;

// Never destroyed: other threads may still call the driver when the process ends.
State &state() {
  static auto &state = *new State;
  return state;
}

void State::destroyContext() {
  context = nullptr;
  retainCount = 0;
  nullStream = Stream{true};
  streams.clear();
  events.clear();
  modules.clear();
  functions.clear();
  graphs.clear();
  executables.clear();
  memory::releaseAll();
  queue::clearStickyError();
}

CUresult waitFor(uint64_t number, std::unique_lock<std::mutex> &lock) {
  lock.unlock();
  queue::wait(number);
  return queue::stickyError();
}

CUresult disturbCaptures(State &state, bool always) {
  CUresult result = success;
  for (const auto &[handle, stream] : state.streams) {
    if (stream->capture != Stream::Capture::active) continue;
    // Mode 0 forbids these calls in all threads, mode 1 in the capturing thread, mode 2 in none.
    const bool disturbs =
        stream->captureMode == 0 || (stream->captureMode == 1 && stream->capturer == std::this_thread::get_id());
    if (!always && !disturbs) continue;
    stream->capture = Stream::Capture::invalidated;
    result = captureUnsupported;
  }
  return result;
}

CUresult submit(State &state, Stream &stream, Operation operation) {
  if (stream.capture == Stream::Capture::invalidated) return captureInvalidated;
  if (stream.capture == Stream::Capture::active) {
    stream.captured.push_back(std::move(operation));
    return success;
  }
  if (&stream == &state.nullStream)
    // The default stream waits for blocking streams, which a capture cannot express.
    for (const auto &[handle, other] : state.streams)
      if (other->isBlocking && other->capture == Stream::Capture::active) {
        other->capture = Stream::Capture::invalidated;
        return captureImplicit;
      }
  stream.last = queue::submit(std::move(operation));
  return success;
}

void reset() {
  queue::waitForAll();
  State &s = state();
  const std::lock_guard lock(s.mutex);
  s.destroyContext();
  s.isInitialized = false;
}

}  // namespace emulator::driver
