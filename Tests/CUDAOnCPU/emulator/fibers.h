// Stacks for CUDA threads, and switches between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#if defined(__SANITIZE_ADDRESS__)
#define CUDA_ON_CPU_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDA_ON_CPU_ASAN 1
#endif
#endif

#if CUDA_ON_CPU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
// Marks a function that is left without returning.
#define CUDA_ON_CPU_UNINSTRUMENTED __attribute__((no_sanitize("address")))
#else
#define CUDA_ON_CPU_UNINSTRUMENTED
#endif

#pragma GCC visibility push(hidden)

// Saves the callee-saved registers on the current stack and its address in *save, then continues where `target` was
// saved.
extern "C" void cuda_on_cpu_switch(void **save, void *target);
// Does the second half of a switch. A signal handler continues here when a thread must leave its stack for good.
extern "C" void cuda_on_cpu_resume(void **unused, void *target);

namespace emulator {

struct Stack {
  char *low;   // the lowest usable byte, above a guard page
  char *high;  // one past the highest
  Stack *nextFree = nullptr;
  void *fakeStack = nullptr;  // AddressSanitizer's shadow of this stack while another one runs

  // Returns a saved state that starts `entry` on this stack; `entry` must not return.
  void *prepare(void (*entry)());
};

// A pool of stacks, which reuses the most recent ones first because they are in the cache.
class StackPool {
 public:
  // Returns null when the system has no memory left.
  Stack *take();
  void give(Stack *stack);
  // Gives back a stack whose thread was abandoned before its end.
  void giveAbandoned(Stack *stack);
  // Returns whether the address is in a stack's guard page.
  bool isGuard(uintptr_t address) const;

 private:
  bool grow();
  Stack *free = nullptr;
  struct Slab;
  Slab *slabs = nullptr;
};

// These tell AddressSanitizer of every switch; without it they are empty.
struct StackBounds {
  const char *low;
  size_t size;
};

inline void switchStarts([[maybe_unused]] void **fakeStack, [[maybe_unused]] StackBounds target) {
#if CUDA_ON_CPU_ASAN
  __sanitizer_start_switch_fiber(fakeStack, target.low, target.size);
#endif
}

inline void switchEnded([[maybe_unused]] void *fakeStack) {
#if CUDA_ON_CPU_ASAN
  __sanitizer_finish_switch_fiber(fakeStack, nullptr, nullptr);
#endif
}

inline StackBounds bounds(const Stack &stack) { return {stack.low, size_t(stack.high - stack.low)}; }

// Returns the system stack of the calling OS thread.
StackBounds boundsOfOSThread();

}  // namespace emulator

#pragma GCC visibility pop
