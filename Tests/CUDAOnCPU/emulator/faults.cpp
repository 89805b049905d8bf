#include "faults.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdio>
#include <mutex>

#include "failures.h"
#include "launch.h"
#include "memory.h"
#include "shared_memory.h"

namespace emulator {
namespace {

constexpr int signals[] = {SIGSEGV, SIGBUS, SIGFPE};
struct sigaction previous[NSIG];

// Written by the handler and read after the launch has ended.
thread_local constinit int faultSignal = 0;
thread_local constinit int faultCode = 0;
thread_local constinit uintptr_t faultAddress = 0;

void passOn(int signal, siginfo_t *info, void *context) {
  const struct sigaction &before = previous[signal];
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
    // The fault repeats on return, and then has its default effect.
    sigaction(signal, &before, nullptr);
  } else {
    before.sa_handler(signal);
  }
}

void handle(int signal, siginfo_t *info, void *context) {
  // Do not blame the kernel for a fault in the scheduler or a signal sent by kill.
  if (!execution.thread || !execution.launch || info->si_code == SI_USER) {
    passOn(signal, info, context);
    return;
  }
  Launch &launch = *execution.launch;
  faultSignal = signal;
  faultCode = info->si_code;
  faultAddress = reinterpret_cast<uintptr_t>(info->si_addr);
  launch.failure = signal == SIGFPE ? launchFailed : illegalAddress;
  // On return the OS thread continues where it left its own stack for the first CUDA thread.
  switchStarts(&execution.thread->stack->fakeStack, launch.osStack);
  ucontext_t &interrupted = *static_cast<ucontext_t *>(context);
  const auto resume = reinterpret_cast<uintptr_t>(&cuda_on_cpu_resume),
             target = reinterpret_cast<uintptr_t>(launch.osStackPointer);
#if defined(__APPLE__) && defined(__x86_64__)
  interrupted.uc_mcontext->__ss.__rip = resume;
  interrupted.uc_mcontext->__ss.__rsi = target;
#elif defined(__APPLE__)
  interrupted.uc_mcontext->__ss.__pc = resume;
  interrupted.uc_mcontext->__ss.__x[1] = target;
#elif defined(__x86_64__)
  interrupted.uc_mcontext.gregs[REG_RIP] = greg_t(resume);
  interrupted.uc_mcontext.gregs[REG_RSI] = greg_t(target);
#else
  interrupted.uc_mcontext.pc = resume;
  interrupted.uc_mcontext.regs[1] = target;
#endif
}

}  // namespace

void enterFaultHandling() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (int signal : signals) sigaction(signal, &action, &previous[signal]);
  });
  // The handler cannot run on the stack that overflowed, so it has its own. It is never freed, because the OS thread
  // that runs kernels never ends.
  static thread_local bool hasStack = false;
  if (hasStack) return;
  constexpr size_t byteCount = 128 << 10;
  void *memory = mmap(nullptr, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  stack_t stack = {};
  stack.ss_sp = memory;
  stack.ss_size = byteCount;
  hasStack = memory != MAP_FAILED && sigaltstack(&stack, nullptr) == 0;
}

std::string describeFault(const Launch &launch) {
  std::string text = placeOf(*execution.thread);
  char address[32];
  snprintf(address, sizeof address, "%#zx", size_t(faultAddress));
  if (faultSignal == SIGFPE) {
    text += ": divided by zero";
  } else if (stackPool().isGuard(faultAddress)) {
    text += ": its stack overflowed";
  } else if (faultCode != SEGV_MAPERR && faultCode != SEGV_ACCERR && faultAddress == 0) {
    // The processor does not report the address of this access.
    text += ": used an address that is misaligned or impossible";
  } else {
    const Block &block = *execution.thread->block;
    std::string place =
        launch.areas[size_t(&block - launch.blocks.data())]->describe(faultAddress, block.sharedByteCount);
    if (place.empty()) place = memory::describe(faultAddress);
    text += ": used the address " + std::string(address) + ", " + place;
  }
  const Thread &thread = *execution.thread;
  if (thread.waitsIn) text += ", after " + std::string(thread.waitsIn) + " at " + textOf(thread.where);
  return text;
}

}  // namespace emulator
