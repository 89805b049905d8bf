// The kernels compiled into this library, by name.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#pragma GCC visibility push(hidden)

namespace emulator {

struct Kernel {
  std::string name;
  std::vector<size_t> parameterSizes;
  // Calls the kernel for the running thread with the parameters that these pointers point to.
  void (*call)(void *const *arguments);
};

void registerKernel(Kernel kernel);
// Null when no kernel has this name.
const Kernel *findKernel(std::string_view name);
// All kernels whose names start so, in alphabetical order.
std::vector<const Kernel *> kernels(std::string_view prefix);

template <auto kernel>
struct KernelCall;

template <class... P, void (*kernel)(P...)>
struct KernelCall<kernel> {
  static_assert((std::is_trivially_copyable_v<P> && ...), "kernel parameters are copied byte by byte");

  static void call(void *const *arguments) { call(arguments, std::index_sequence_for<P...>{}); }

  template <size_t... i>
  static void call([[maybe_unused]] void *const *arguments, std::index_sequence<i...>) {
    kernel(*static_cast<const std::remove_cv_t<P> *>(arguments[i])...);
  }

  static bool add(const char *name) {
    registerKernel({name, {sizeof(P)...}, &call});
    return true;
  }
};

}  // namespace emulator

// Makes a kernel known under its name; one line for each kernel in the file that includes its source.
#define CUDA_KERNEL(name) [[maybe_unused]] static const bool name##IsKnown = ::emulator::KernelCall<&name>::add(#name)

#pragma GCC visibility pop
