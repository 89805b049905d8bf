// Streams, events, captures and graphs.
#include <utility>

#include "state.h"

using namespace emulator;
using namespace emulator::driver;

using Capture = Stream::Capture;

// Invalidates the stream's capture because of a call that a capture cannot express.
static CUresult disturb(Stream &stream) {
  if (stream.capture == Capture::none) return success;
  stream.capture = Capture::invalidated;
  return captureUnsupported;
}

CUDA_API cuStreamCreate(void **stream, unsigned flags) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    if (!stream || flags > 1) return invalidValue;
    *stream = s.streams.add(std::make_shared<Stream>(Stream{flags == 0}));
    return success;
  });
}

// Queued operations still run.
CUDA_API cuStreamDestroy_v2(void *handle) {
  return call(Needs::context,
              [&](State &s, auto &) -> CUresult { return s.streams.remove(handle) ? success : invalidHandle; });
}

CUDA_API cuStreamSynchronize(void *handle) {
  return call(Needs::context, [&](State &s, auto &lock) -> CUresult {
    Stream *stream = s.stream(handle);
    if (!stream) return invalidHandle;
    if (const CUresult result = disturb(*stream); result != success) return result;
    return waitFor(stream->last, lock);
  });
}

CUDA_API cuStreamQuery(void *handle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    Stream *stream = s.stream(handle);
    if (!stream) return invalidHandle;
    if (const CUresult result = disturb(*stream); result != success) return result;
    if (!queue::isDone(stream->last)) return notReady;
    return queue::stickyError();
  });
}

CUDA_API cuEventCreate(void **event, unsigned flags) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    constexpr unsigned blockingSync = 1, disableTiming = 2;
    if (!event || (flags & ~(blockingSync | disableTiming)) != 0) return invalidValue;
    Event fresh{};
    fresh.hasTiming = (flags & disableTiming) == 0;
    fresh.state = std::make_shared<EventState>();
    *event = s.events.add(std::make_shared<Event>(fresh));
    return success;
  });
}

CUDA_API cuEventDestroy_v2(void *handle) {
  return call(Needs::context,
              [&](State &s, auto &) -> CUresult { return s.events.remove(handle) ? success : invalidHandle; });
}

CUDA_API cuEventRecord(void *eventHandle, void *streamHandle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    Stream *stream = s.stream(streamHandle);
    const auto event = s.events.find(eventHandle);
    if (!stream || !event) return invalidHandle;
    if (stream->capture == Capture::invalidated) return captureInvalidated;
    if (stream->capture == Capture::active) {
      event->capturedOn = streamHandle;
      return success;
    }
    if (const CUresult result = submit(s, *stream, Record{event->state}); result != success) return result;
    event->capturedOn = nullptr;
    event->wasRecorded = true;
    event->last = stream->last;
    return success;
  });
}

CUDA_API cuEventSynchronize(void *handle) {
  return call(Needs::context, [&](State &s, auto &lock) -> CUresult {
    const auto event = s.events.find(handle);
    if (!event) return invalidHandle;
    if (event->capturedOn) return capturedEvent;
    return waitFor(event->last, lock);
  });
}

CUDA_API cuEventElapsedTime(float *milliseconds, void *startHandle, void *endHandle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    const auto start = s.events.find(startHandle), end = s.events.find(endHandle);
    if (!start || !end) return invalidHandle;
    if (!milliseconds) return invalidValue;
    if (start->capturedOn || end->capturedOn) return capturedEvent;
    if (!start->hasTiming || !end->hasTiming || !start->wasRecorded || !end->wasRecorded) return invalidHandle;
    if (!queue::isDone(start->last) || !queue::isDone(end->last)) return notReady;
    *milliseconds = std::chrono::duration<float, std::milli>(end->state->time - start->state->time).count();
    return success;
  });
}

CUDA_API cuStreamBeginCapture_v2(void *handle, int mode) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    Stream *stream = s.stream(handle);
    if (!stream) return invalidHandle;
    if (mode < 0 || mode > 2) return invalidValue;
    // The default stream cannot be captured.
    if (!handle) return captureUnsupported;
    if (stream->capture != Capture::none) return illegalState;
    stream->capture = Capture::active;
    stream->captureMode = mode;
    stream->capturer = std::this_thread::get_id();
    stream->captured.clear();
    return success;
  });
}

CUDA_API cuStreamEndCapture(void *handle, void **graph) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    Stream *stream = s.stream(handle);
    if (!stream) return invalidHandle;
    if (!graph) return invalidValue;
    if (stream->capture == Capture::none) return illegalState;
    if (stream->captureMode != 2 && stream->capturer != std::this_thread::get_id()) return captureWrongThread;
    *graph = nullptr;
    for (const auto &[eventHandle, event] : s.events)
      if (event->capturedOn == handle) event->capturedOn = nullptr;
    auto nodes = std::make_shared<const std::vector<Operation>>(std::move(stream->captured));
    stream->captured.clear();
    if (std::exchange(stream->capture, Capture::none) == Capture::invalidated) return captureInvalidated;
    *graph = s.graphs.add(std::make_shared<Graph>(Graph{std::move(nodes)}));
    return success;
  });
}

CUDA_API cuGraphInstantiateWithFlags(void **executable, void *handle, unsigned long long flags) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    const auto graph = s.graphs.find(handle);
    if (!graph) return invalidHandle;
    if (!executable || flags > 15) return invalidValue;
    *executable = s.executables.add(std::make_shared<Graph>(*graph));
    return success;
  });
}

CUDA_API cuGraphLaunch(void *handle, void *streamHandle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    const auto executable = s.executables.find(handle);
    Stream *stream = s.stream(streamHandle);
    if (!executable || !stream) return invalidHandle;
    return submit(s, *stream, GraphRun{executable->nodes});
  });
}

CUDA_API cuGraphDestroy(void *handle) {
  return call(Needs::context,
              [&](State &s, auto &) -> CUresult { return s.graphs.remove(handle) ? success : invalidHandle; });
}

CUDA_API cuGraphExecDestroy(void *handle) {
  return call(Needs::context,
              [&](State &s, auto &) -> CUresult { return s.executables.remove(handle) ? success : invalidHandle; });
}
