#include "fibers.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <new>

// Declares the two functions in the syntax of the object format.
#if defined(__APPLE__)
#define FUNCTION(name) ".globl _" #name "\n.private_extern _" #name "\n.p2align 4\n_" #name ":\n"
#define ENTRY_POINT(name) ".globl _" #name "\n.private_extern _" #name "\n.alt_entry _" #name "\n_" #name ":\n"
#else
#define ENTRY_POINT(name) ".globl " #name "\n.hidden " #name "\n.type " #name ", %function\n" #name ":\n"
#define FUNCTION(name) ".p2align 4\n" ENTRY_POINT(name)
#endif

// Saves neither the floating-point control words nor the signal mask, because kernels change neither.
#if defined(__x86_64__)
asm(".text\n" FUNCTION(cuda_on_cpu_switch) R"(
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
)" ENTRY_POINT(cuda_on_cpu_resume) R"(
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
#elif defined(__aarch64__)
asm(".text\n" FUNCTION(cuda_on_cpu_switch) R"(
  stp x29, x30, [sp, #-160]!
  stp x19, x20, [sp, #16]
  stp x21, x22, [sp, #32]
  stp x23, x24, [sp, #48]
  stp x25, x26, [sp, #64]
  stp x27, x28, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
)" ENTRY_POINT(cuda_on_cpu_resume) R"(
  mov sp, x1
  ldp x19, x20, [sp, #16]
  ldp x21, x22, [sp, #32]
  ldp x23, x24, [sp, #48]
  ldp x25, x26, [sp, #64]
  ldp x27, x28, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  ldp x29, x30, [sp], #160
  ret
)");
#else
#error "the switch between stacks is written for x86-64 and arm64"
#endif

namespace emulator {

// Frames of instrumented and unoptimised code are several times larger; untouched pages cost nothing.
#if CUDA_ON_CPU_ASAN
constexpr size_t stackByteCount = 512 << 10;
#else
constexpr size_t stackByteCount = 128 << 10;
#endif
constexpr size_t stacksPerSlab = 64;

struct StackPool::Slab {
  char *low;
  size_t stride;
  Slab *next;
  Stack stacks[stacksPerSlab];
};

void *Stack::prepare(void (*entry)()) {
#if defined(__x86_64__)
  // As after a call, a return address is on top of a 16-byte boundary; here it is null, which ends backtraces.
  constexpr size_t words = 8;
  constexpr size_t entryWord = 6;
#else
  constexpr size_t words = 20;
  constexpr size_t entryWord = 1;
#endif
  char *state = high - words * sizeof(void *);
  memset(state, 0, words * sizeof(void *));
  memcpy(state + entryWord * sizeof(void *), &entry, sizeof entry);
  return state;
}

bool StackPool::grow() {
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  // The guard's extra page also keeps equal depths of different stacks out of the same cache sets.
  const size_t stride = stackByteCount + page;
  void *memory = mmap(nullptr, stride * stacksPerSlab, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return false;
  Slab *slab = new Slab{static_cast<char *>(memory), stride, slabs, {}};
  for (size_t i = stacksPerSlab; i-- > 0;) {
    char *low = slab->low + i * stride + page;
    if (mprotect(low, stackByteCount, PROT_READ | PROT_WRITE) != 0) {
      // No stack of this slab is in use yet, and those already in the free list are at its front.
      while (free && free->low >= slab->low && free->low < slab->low + stride * stacksPerSlab) free = free->nextFree;
      munmap(memory, stride * stacksPerSlab);
      delete slab;
      return false;
    }
    // Spread the tops within a page over the sets of the L1 cache.
    slab->stacks[i] = Stack{low, low + stackByteCount - i % 16 * 256, free, nullptr};
    free = &slab->stacks[i];
  }
  slabs = slab;
  return true;
}

Stack *StackPool::take() {
  if (!free && !grow()) return nullptr;
  Stack *stack = free;
  free = stack->nextFree;
  return stack;
}

void StackPool::give(Stack *stack) {
  stack->nextFree = free;
  free = stack;
}

void StackPool::giveAbandoned(Stack *stack) {
#if CUDA_ON_CPU_ASAN
  // Abandoned frames have not unpoisoned their variables.
  __asan_unpoison_memory_region(stack->low, size_t(stack->high - stack->low));
#endif
  give(stack);
}

bool StackPool::isGuard(uintptr_t address) const {
  for (const Slab *slab = slabs; slab; slab = slab->next) {
    const uintptr_t low = reinterpret_cast<uintptr_t>(slab->low);
    if (address >= low && address - low < slab->stride * stacksPerSlab)
      return (address - low) % slab->stride < slab->stride - stackByteCount;
  }
  return false;
}

static StackBounds findBounds() {
#if defined(__APPLE__)
  const size_t size = pthread_get_stacksize_np(pthread_self());
  return {static_cast<const char *>(pthread_get_stackaddr_np(pthread_self())) - size, size};
#else
  pthread_attr_t attributes;
  void *low = nullptr;
  size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &low, &size);
    pthread_attr_destroy(&attributes);
  }
  return {static_cast<const char *>(low), size};
#endif
}

StackBounds boundsOfOSThread() {
  static thread_local const StackBounds bounds = findBounds();
  return bounds;
}

}  // namespace emulator
