// Modules, their functions and occupancy.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "state.h"
#include "emulator/registry.h"

using namespace emulator;
using namespace emulator::driver;

namespace {

// The options of cuModuleLoadDataEx for a buffer that receives the compiler's messages.
constexpr int errorLog = 5;
constexpr int errorLogByteCount = 6;

void writeLog(const std::string &text, unsigned count, const int *options, void **values) {
  char *buffer = nullptr;
  void **size = nullptr;
  for (unsigned i = 0; i < count; i++) {
    if (options[i] == errorLog) buffer = static_cast<char *>(values[i]);
    if (options[i] == errorLogByteCount) size = &values[i];
  }
  if (!buffer || !size) return;
  // The pointer's value is the buffer's size, and on return the number of bytes written.
  const size_t capacity = size_t(static_cast<unsigned>(reinterpret_cast<uintptr_t>(*size)));
  if (capacity == 0) return;
  const int length = snprintf(buffer, capacity, "%s", text.c_str());
  *size = reinterpret_cast<void *>(std::min(size_t(length), capacity - 1));
}

std::string decimal(int tenfold) { return std::to_string(tenfold / 10) + "." + std::to_string(tenfold % 10); }

// Checks PTX as the driver's compiler would; `problem` stays empty if the text is valid.
CUresult check(std::string_view text, PTXText &parsed, std::string &problem) {
  if (text.starts_with("\177ELF")) {
    problem = "the image is a binary, not PTX";
    return invalidImage;
  }
  if (!parse(text, parsed, problem)) {
    problem = "ptxas fatal   : " + problem;
    return invalidPTX;
  }
  const CUDAOnCPUConfiguration configuration = control::configuration();
  // CUDA 12.1 accepts PTX up to 8.1, CUDA 11.8 up to 7.8.
  const int newest = (configuration.driverVersion / 1000 - 4) * 10 + configuration.driverVersion % 1000 / 10;
  if (parsed.version > newest) {
    problem = "ptxas fatal   : Unsupported .version " + decimal(parsed.version) + "; current version is '" +
              decimal(newest) + "'";
    return unsupportedPTXVersion;
  }
  if (parsed.target > configuration.capability) {
    problem = "ptxas fatal   : SM version specified by .target is higher than default SM version assumed";
    return invalidPTX;
  }
  return success;
}

// With CUDA_ON_CPU_PLANTED=decode_one:selftest_planted_wrong_decode the second kernel runs instead of the first, to
// test that the GPU check finds the mistake.
std::string_view plantedName(std::string_view name) {
  const char *text = getenv("CUDA_ON_CPU_PLANTED");
  const std::string_view planted = text ? text : "";
  return planted.starts_with(name) && planted.substr(name.size()).starts_with(":") ? planted.substr(name.size() + 1)
                                                                                   : name;
}

std::string sizes(const std::vector<size_t> &sizes) {
  std::string text;
  for (size_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + ")";
}

}  // namespace

CUDA_API cuModuleLoadDataEx(void **module, const void *image, unsigned optionCount, int *options, void **values) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    if (!module || !image || (optionCount > 0 && (!options || !values))) return invalidValue;
    if (const CUresult result = disturbCaptures(s, false); result != success) return result;
    PTXText parsed;
    std::string problem;
    const CUresult result = check(static_cast<const char *>(image), parsed, problem);
    writeLog(problem, optionCount, options, values);
    if (result != success) {
      control::reportFailure("a module was refused: " + problem);
      return result;
    }
    *module = s.modules.add(std::make_shared<Module>(Module{std::move(parsed.entries)}));
    return success;
  });
}

CUDA_API cuModuleUnload(void *handle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    const auto module = s.modules.find(handle);
    if (!module) return invalidHandle;
    if (const CUresult result = disturbCaptures(s, false); result != success) return result;
    s.functions.removeAll([&](const Function &function) { return function.module == module.get(); });
    s.modules.remove(handle);
    return success;
  });
}

CUDA_API cuModuleGetFunction(void **function, void *handle, const char *name) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    const auto module = s.modules.find(handle);
    if (!module) return invalidHandle;
    if (!function || !name) return invalidValue;
    const auto entry =
        std::find_if(module->entries.begin(), module->entries.end(), [&](const PTXEntry &e) { return e.name == name; });
    if (entry == module->entries.end()) return notFound;
    const Kernel *kernel = findKernel(plantedName(name));
    if (!kernel) {
      control::reportFailure("the module has " + entry->name + ", but the emulator was built without it");
      return notFound;
    }
    if (entry->parameterSizes != kernel->parameterSizes) {
      control::reportFailure("the PTX is stale: " + entry->name + " has parameters of " + sizes(entry->parameterSizes) +
                             " bytes there, and of " + sizes(kernel->parameterSizes) + " in the source");
      return invalidPTX;
    }
    *function = s.functions.add(std::make_shared<Function>(Function{module.get(), kernel, entry->maximumThreads}));
    return success;
  });
}

// The numbers of CUfunction_attribute.
constexpr int maximumThreadsAttribute = 0;
constexpr int registerCountAttribute = 4;
constexpr int ptxVersionAttribute = 5;
constexpr int binaryVersionAttribute = 6;
constexpr int allowedSharedAttribute = 8;
constexpr int sharedCarveoutAttribute = 9;

CUDA_API cuFuncSetAttribute(void *handle, int attribute, int value) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    const auto function = s.functions.find(handle);
    if (!function) return invalidHandle;
    switch (attribute) {
      case allowedSharedAttribute:
        if (value < 0 || value > control::configuration().sharedMemoryByteCount) return invalidValue;
        function->allowedSharedByteCount = value;
        return success;
      case sharedCarveoutAttribute: return value >= -1 && value <= 100 ? success : invalidValue;
      default: return invalidValue;
    }
  });
}

CUDA_API cuFuncGetAttribute(int *value, int attribute, void *handle) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    const auto function = s.functions.find(handle);
    if (!function) return invalidHandle;
    if (!value || attribute < 0 || attribute > 15) return invalidValue;
    switch (attribute) {
      case maximumThreadsAttribute: *value = function->maximumThreads; break;
      case registerCountAttribute: *value = 32; break;
      case ptxVersionAttribute: case binaryVersionAttribute: *value = control::configuration().capability; break;
      case allowedSharedAttribute: *value = function->allowedSharedByteCount; break;
      case sharedCarveoutAttribute: *value = -1; break;
      default: *value = 0; break;  // static shared, constant and local memory, caching, clusters
    }
    return success;
  });
}

CUDA_API cuOccupancyMaxActiveBlocksPerMultiprocessor(int *count, void *handle, int threads, size_t sharedByteCount) {
  return call(Needs::context, [&](State &s, auto &) -> CUresult {
    const auto function = s.functions.find(handle);
    if (!function) return invalidHandle;
    if (!count || threads <= 0) return invalidValue;
    *count = blocksPerMultiprocessor(*function, threads, sharedByteCount);
    return success;
  });
}
