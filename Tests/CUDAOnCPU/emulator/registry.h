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
  // Calls the kernel for the running thread, with pointers to its parameters.
  void (*call)(void *const *arguments);
};

void registerKernel(Kernel kernel);
// Returns null when no kernel has this name.
const Kernel *findKernel(std::string_view name);
// Returns all kernels with this name prefix, in alphabetical order.
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

// Registers a kernel under its name. A file that includes a kernel's source must have one line for each kernel.
#define CUDA_KERNEL(name) [[maybe_unused]] static const bool name##IsKnown = ::emulator::KernelCall<&name>::add(#name)

#pragma GCC visibility pop
