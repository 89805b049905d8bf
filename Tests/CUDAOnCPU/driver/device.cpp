// Initialisation, the device and its primary context.
#include <cstdio>

#include "state.h"
#include "emulator/memory.h"

using namespace emulator;
using namespace emulator::driver;

CUDA_API cuInit(unsigned flags) {
  State &s = state();
  const std::lock_guard lock(s.mutex);
  if (flags != 0) return invalidValue;
  control::readEnvironment();
  if (control::configuration().deviceCount == 0) return noDevice;
  s.isInitialized = true;
  return success;
}

// Works without cuInit.
CUDA_API cuDriverGetVersion(int *version) {
  State &s = state();
  const std::lock_guard lock(s.mutex);
  if (!version) return invalidValue;
  if (!s.isInitialized) control::readEnvironment();
  *version = control::configuration().driverVersion;
  return success;
}

CUDA_API cuDeviceGetCount(int *count) {
  return call(Needs::initialization, [&](State &, auto &) -> CUresult {
    if (!count) return invalidValue;
    *count = control::configuration().deviceCount;
    return success;
  });
}

static bool isDevice(CUdevice device) { return device >= 0 && device < control::configuration().deviceCount; }

CUDA_API cuDeviceGet(CUdevice *device, int ordinal) {
  return call(Needs::initialization, [&](State &, auto &) -> CUresult {
    if (!device) return invalidValue;
    if (!isDevice(ordinal)) return invalidDevice;
    *device = ordinal;
    return success;
  });
}

CUDA_API cuDeviceGetName(char *name, int length, CUdevice device) {
  return call(Needs::initialization, [&](State &, auto &) -> CUresult {
    if (!name || length <= 0) return invalidValue;
    if (!isDevice(device)) return invalidDevice;
    snprintf(name, size_t(length), "CUDA on CPU (emulated)");
    return success;
  });
}

CUDA_API cuDeviceGetUuid_v2(unsigned char *identifier, CUdevice device) {
  return call(Needs::initialization, [&](State &, auto &) -> CUresult {
    if (!identifier) return invalidValue;
    if (!isDevice(device)) return invalidDevice;
    for (int i = 0; i < 16; i++) identifier[i] = static_cast<unsigned char>(0xC0 + i);
    return success;
  });
}

CUDA_API cuDeviceTotalMem_v2(size_t *byteCount, CUdevice device) {
  return call(Needs::initialization, [&](State &, auto &) -> CUresult {
    if (!byteCount) return invalidValue;
    if (!isDevice(device)) return invalidDevice;
    *byteCount = size_t(memory::limit());
    return success;
  });
}

// Sets the value of a CUdevice_attribute. Returns false if there is no such attribute.
static bool attribute(int number, int &value) {
  const CUDAOnCPUConfiguration configuration = control::configuration();
  if (number == configuration.failingAttribute) return false;
  switch (number) {
    case 1: value = 1024; break;                                  // threads per block
    case 2: case 3: value = 1024; break;                          // block size, x and y
    case 4: value = 64; break;                                    // z
    case 5: value = 0x7FFFFFFF; break;                            // grid size, x
    case 6: case 7: value = 65535; break;                         // y and z
    case 8: value = 48 << 10; break;                              // shared memory per block without permission
    case 9: value = 64 << 10; break;                              // constant memory
    case 10: value = 32; break;                                   // warp size
    case 12: case 82: value = 65536; break;                       // registers per block and per multiprocessor
    case 13: value = 1'000'000; break;                            // clock in kHz
    case 16: value = configuration.multiprocessorCount; break;
    case 19: case 41: value = 1; break;                           // maps host memory; one address space
    case 31: value = 1; break;                                    // concurrent kernels
    case 36: value = configuration.memoryClock; break;
    case 37: value = configuration.memoryBusWidth; break;
    case 38: value = configuration.l2ByteCount; break;
    case 39: value = 2048; break;                                 // threads per multiprocessor
    case 75: value = configuration.capability / 10; break;
    case 76: value = configuration.capability % 10; break;
    case 81: value = 164 << 10; break;                            // shared memory per multiprocessor
    case 95: value = 1; break;                                    // cooperative launch
    case 97: value = configuration.sharedMemoryByteCount; break;  // shared memory per block with permission
    case 106:
      value = configuration.blocksPerMultiprocessor > 0 ? configuration.blocksPerMultiprocessor : 32;
      break;                                                      // blocks per multiprocessor
    case 111: value = 1 << 10; break;                             // shared memory reserved per block
    default:
      // The remaining attributes are features that this device lacks.
      value = 0;
      return number >= 1 && number <= 130;
  }
  return true;
}

CUDA_API cuDeviceGetAttribute(int *value, int number, CUdevice device) {
  return call(Needs::initialization, [&](State &, auto &) -> CUresult {
    if (!value) return invalidValue;
    if (!isDevice(device)) return invalidDevice;
    int found = 0;
    if (!attribute(number, found)) return invalidValue;
    *value = found;
    return success;
  });
}

CUDA_API cuDevicePrimaryCtxRetain(void **context, CUdevice device) {
  return call(Needs::initialization, [&](State &s, auto &) -> CUresult {
    if (!context) return invalidValue;
    if (!isDevice(device)) return invalidDevice;
    if (s.retainCount++ == 0) s.context = reinterpret_cast<void *>(uintptr_t{0x50} << 32 | ++s.contextCount * 16);
    *context = s.context;
    return success;
  });
}

CUDA_API cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  return call(Needs::initialization, [&](State &s, auto &lock) -> CUresult {
    if (!isDevice(device)) return invalidDevice;
    if (s.retainCount == 0) return invalidContext;
    if (--s.retainCount > 0) return success;
    // Queued operations still run.
    lock.unlock();
    queue::waitForAll();
    lock.lock();
    if (s.retainCount == 0) s.destroyContext();
    return success;
  });
}

CUDA_API cuCtxSetCurrent(void *context) {
  return call(Needs::initialization, [&](State &s, auto &) -> CUresult {
    if (context && context != s.context) return invalidContext;
    currentContext = context;
    return success;
  });
}

CUDA_API cuCtxSynchronize() {
  return call(Needs::context, [&](State &s, auto &lock) -> CUresult {
    if (const CUresult result = disturbCaptures(s, true); result != success) return result;
    lock.unlock();
    queue::waitForAll();
    return queue::stickyError();
  });
}
