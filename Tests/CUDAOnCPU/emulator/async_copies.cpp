// cp.async and acquiring loads.
#include <cstring>

#include "builtins.h"
#include "failures.h"
#include "launch.h"

namespace emulator {

void mayBeInterrupted() { schedulingPoint(); }

void failMisaligned(const char *what, Location where) { fail(misalignedAddress, what, where); }

static void land(const AsyncCopy &copy) {
  if (copy.global)
    memcpy(copy.shared, copy.global, 16);
  else
    memset(copy.shared, 0, 16);
}

void copyAsync(void *shared, const void *global, Location where) {
  schedulingPoint();
  checkAligned(shared, "copied asynchronously to shared memory that is not aligned to 16 bytes", where);
  checkAligned(global, "copied asynchronously from memory that is not aligned to 16 bytes", where);
  Thread &thread = *execution.thread;
  const Block &block = *thread.block;
  const uintptr_t start = reinterpret_cast<uintptr_t>(block.shared), target = reinterpret_cast<uintptr_t>(shared);
  if (target < start || target - start + 16 > block.sharedByteCount)
    fail(illegalAddress, "copied asynchronously to outside of the block's shared memory", where);
  // Touch the source here, so that an unreadable one is reported with the copy's line.
  if (global) {
    thread.waitsIn = "ptx::copyAsync16";
    thread.where = where;
    static_cast<void>(*static_cast<const volatile unsigned char *>(global));
  }
  execution.counts.asyncCopyBytes += 16;
  const AsyncCopy copy{shared, global, thread.openGroup};
  if (execution.seeded && execution.launch->random.oneIn(4))
    land(copy);
  else
    thread.copies.push_back(copy);
}

void commitAsync() {
  schedulingPoint();
  execution.thread->openGroup++;
}

void waitAsync(uint32_t groupsLeft) {
  schedulingPoint();
  Thread &thread = *execution.thread;
  // Wait for all committed groups except the last ones, and not for copies that were never committed.
  while (thread.landed < thread.copies.size() && thread.openGroup - thread.copies[thread.landed].group > groupsLeft)
    land(thread.copies[thread.landed++]);
  if (thread.landed == thread.copies.size()) {
    thread.copies.clear();
    thread.landed = 0;
  }
}

unsigned loadAcquire(const unsigned *address, Location where) {
  schedulingPoint();
  Thread &thread = *execution.thread;
  unsigned value = __atomic_load_n(address, __ATOMIC_ACQUIRE);
  const bool same = thread.polledAddress == address && thread.polledValue == value;
  if (same || thread.polledProgress == execution.progress) {
    // The thread is spinning; let others run.
    yieldThread("ptx::loadAcquire", where);
    value = __atomic_load_n(address, __ATOMIC_ACQUIRE);
    if (same && value != thread.polledValue) execution.progress++;
  }
  thread.polledAddress = address;
  thread.polledValue = value;
  thread.polledProgress = execution.progress;
  return value;
}

void spin(Location where) { yieldThread("an atomic that changes nothing", where); }

}  // namespace emulator
