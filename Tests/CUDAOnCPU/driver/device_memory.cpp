// Allocations and copies.
#include <algorithm>

#include "state.h"
#include "emulator/memory.h"

using namespace emulator;
using namespace emulator::driver;

namespace {

std::shared_ptr<const std::vector<unsigned char>> staged(const void *from, size_t byteCount) {
  const auto *bytes = static_cast<const unsigned char *>(from);
  return std::make_shared<const std::vector<unsigned char>>(bytes, bytes + byteCount);
}

// The kind of host memory: pinned if the driver allocated it, invalid if the address is null or a device's.
enum class Host { pageable, pinned, invalid };
Host kindOf(const void *host, size_t byteCount) {
  const auto address = reinterpret_cast<uintptr_t>(host);
  if (memory::contains(address, byteCount, memory::Kind::pinned)) return Host::pinned;
  return host && !memory::contains(address, 1, memory::Kind::device) ? Host::pageable : Host::invalid;
}

// Submits the operation to the default stream and waits for it.
CUresult now(State &s, std::unique_lock<std::mutex> &lock, Operation operation) {
  if (const CUresult result = submit(s, s.nullStream, std::move(operation)); result != success) return result;
  return waitFor(s.nullStream.last, lock);
}

}  // namespace

CUDA_API cuMemGetInfo_v2(size_t *free, size_t *total) {
  return call(Needs::context, [&](State &, auto &) -> CUresult {
    if (!free || !total) return invalidValue;
    *total = size_t(memory::limit());
    *free = size_t(memory::limit() - std::min(memory::limit(), memory::used()));
    return success;
  });
}

CUDA_API cuMemAlloc_v2(CUdeviceptr *address, size_t byteCount) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    if (!address) return invalidValue;
    if (const CUresult result = disturbCaptures(s, false); result != success) return result;
    uintptr_t start = 0;
    const Result result = memory::allocate(byteCount, memory::Kind::device, start);
    if (result == success) *address = start;
    return result;
  });
}

// Frees memory after waiting for the device, as the driver does, because the memory may be in use.
static CUresult release(State &s, std::unique_lock<std::mutex> &lock, uintptr_t address, memory::Kind kind) {
  if (const CUresult result = disturbCaptures(s, false); result != success) return result;
  lock.unlock();
  queue::waitForAll();
  // Launches were checked when they ended, so the host caused any damage found here.
  const std::string damage = memory::damage();
  if (!damage.empty()) control::reportFailure("the host " + damage);
  if (const Result result = memory::release(address, kind); result != success) return result;
  return damage.empty() ? queue::stickyError() : illegalAddress;
}

CUDA_API cuMemFree_v2(CUdeviceptr address) {
  return call(Needs::context, [&](State &s, auto &lock) -> CUresult {
    return address == 0 ? success : release(s, lock, uintptr_t(address), memory::Kind::device);
  });
}

CUDA_API cuMemHostAlloc(void **address, size_t byteCount, unsigned flags) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    if (!address || flags > 7) return invalidValue;
    if (const CUresult result = disturbCaptures(s, false); result != success) return result;
    uintptr_t start = 0;
    const Result result = memory::allocate(byteCount, memory::Kind::pinned, start);
    if (result == success) *address = reinterpret_cast<void *>(start);
    return result;
  });
}

CUDA_API cuMemFreeHost(void *address) {
  return call(Needs::context, [&](State &s, auto &lock) -> CUresult {
    return release(s, lock, reinterpret_cast<uintptr_t>(address), memory::Kind::pinned);
  });
}

CUDA_API cuMemHostGetDevicePointer_v2(CUdeviceptr *address, void *host, unsigned flags) {
  return call(Needs::context, [&](State &, auto &) -> CUresult {
    const auto start = reinterpret_cast<uintptr_t>(host);
    if (!address || flags != 0 || !memory::contains(start, 1, memory::Kind::pinned)) return invalidValue;
    *address = start;
    return success;
  });
}

CUDA_API cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t byteCount) {
  return call(Needs::context, [&](State &s, auto &lock) -> CUresult {
    if (const CUresult result = disturbCaptures(s, false); result != success) return result;
    if (byteCount == 0) return success;
    if (!memory::contains(to, byteCount) || kindOf(from, byteCount) == Host::invalid) return invalidValue;
    return now(s, lock, Copy{uintptr_t(to), reinterpret_cast<uintptr_t>(from), byteCount, nullptr, true, false});
  });
}

CUDA_API cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t byteCount) {
  return call(Needs::context, [&](State &s, auto &lock) -> CUresult {
    if (const CUresult result = disturbCaptures(s, false); result != success) return result;
    if (byteCount == 0) return success;
    if (!memory::contains(from, byteCount) || kindOf(to, byteCount) == Host::invalid) return invalidValue;
    return now(s, lock, Copy{reinterpret_cast<uintptr_t>(to), uintptr_t(from), byteCount, nullptr, false, true});
  });
}

CUDA_API cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t byteCount, void *handle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    Stream *stream = s.stream(handle);
    if (!stream) return invalidHandle;
    if (byteCount == 0) return success;
    const Host host = kindOf(from, byteCount);
    if (!memory::contains(to, byteCount) || host == Host::invalid) return invalidValue;
    Copy copy{uintptr_t(to), reinterpret_cast<uintptr_t>(from), byteCount, nullptr, true, false};
    // Pageable memory is read now; a captured copy reads it whenever the graph runs.
    if (host == Host::pageable && stream->capture == Stream::Capture::none) copy.staged = staged(from, byteCount);
    return submit(s, *stream, std::move(copy));
  });
}

CUDA_API cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t byteCount, void *handle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    Stream *stream = s.stream(handle);
    if (!stream) return invalidHandle;
    if (byteCount == 0) return success;
    if (!memory::contains(from, byteCount) || kindOf(to, byteCount) == Host::invalid) return invalidValue;
    return submit(s, *stream, Copy{reinterpret_cast<uintptr_t>(to), uintptr_t(from), byteCount, nullptr, false, true});
  });
}

CUDA_API cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t byteCount, void *handle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    Stream *stream = s.stream(handle);
    if (!stream) return invalidHandle;
    if (byteCount == 0) return success;
    if (!memory::contains(to, byteCount) || !memory::contains(from, byteCount)) return invalidValue;
    return submit(s, *stream, Copy{uintptr_t(to), uintptr_t(from), byteCount, nullptr, true, true});
  });
}

CUDA_API cuMemsetD8Async(CUdeviceptr to, unsigned char byte, size_t count, void *handle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    Stream *stream = s.stream(handle);
    if (!stream) return invalidHandle;
    if (count == 0) return success;
    if (!memory::contains(to, count)) return invalidValue;
    return submit(s, *stream, Fill{uintptr_t(to), byte, count});
  });
}

CUDA_API cuMemsetD8_v2(CUdeviceptr to, unsigned char byte, size_t count) {
  return call(Needs::context, [&](State &s, auto &lock) -> CUresult {
    if (const CUresult result = disturbCaptures(s, false); result != success) return result;
    if (count == 0) return success;
    if (!memory::contains(to, count)) return invalidValue;
    return now(s, lock, Fill{uintptr_t(to), byte, count});
  });
}
