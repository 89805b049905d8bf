// Bulk copies to shared memory, and the barriers on which threads wait for them.
#include <cstring>
#include <utility>

#include "builtins.h"
#include "failures.h"
#include "launch.h"

namespace emulator {

// The emulator's form of a barrier's eight bytes.
struct CopyBarrier {
  uint16_t magic;
  uint8_t round;    // the parity of the round that is not complete
  uint8_t expects;  // whether the round's bytes have been announced
  int32_t bytes;    // announced and not arrived
};
static_assert(sizeof(CopyBarrier) == sizeof(unsigned long long));
constexpr uint16_t copyBarrierMagic = 0xB0B5;

// Returns the offset of some bytes in the block's shared memory.
static size_t offsetInBlock(const void *address, size_t byteCount, const char *what, Location where) {
  const Block &block = *execution.thread->block;
  const uintptr_t start = reinterpret_cast<uintptr_t>(block.shared), target = reinterpret_cast<uintptr_t>(address);
  if (target < start || target - start > block.sharedByteCount || block.sharedByteCount - (target - start) < byteCount)
    fail(illegalAddress, what, where);
  return target - start;
}

static CopyBarrier &barrierAt(unsigned long long *address, Location where) {
  offsetInBlock(address, sizeof *address, "used a copy barrier outside of the block's shared memory", where);
  auto &barrier = *reinterpret_cast<CopyBarrier *>(address);
  if (barrier.magic != copyBarrierMagic) fail(illegalAddress, "used a copy barrier that was not made", where);
  return barrier;
}

void initBarrier(unsigned long long *address, Location where) {
  schedulingPoint();
  offsetInBlock(address, sizeof *address, "made a copy barrier outside of the block's shared memory", where);
  const CopyBarrier barrier{copyBarrierMagic, 0, 0, 0};
  memcpy(address, &barrier, sizeof barrier);
}

static void completeIfArrived(CopyBarrier &barrier) {
  if (!barrier.expects || barrier.bytes != 0) return;
  barrier.expects = 0;
  barrier.round ^= 1;
  execution.progress++;
}

void expectBytes(unsigned long long *address, unsigned bytes, Location where) {
  schedulingPoint();
  CopyBarrier &barrier = barrierAt(address, where);
  if (barrier.expects) fail(launchFailed, "announced bytes of a copy barrier whose round is not complete", where);
  barrier.expects = 1;
  barrier.bytes += int32_t(bytes);
  completeIfArrived(barrier);
}

// Until it lands, a copy may have written any part of its destination.
constexpr unsigned char unarrived = 0xDB;

void copyBulk(void *shared, const void *global, unsigned bytes, unsigned long long *barrier, Location where) {
  schedulingPoint();
  checkAligned(shared, "copied in bulk to shared memory that is not aligned to 16 bytes", where);
  checkAligned(global, "copied in bulk from memory that is not aligned to 16 bytes", where);
  if (bytes % 16 != 0) fail(illegalAddress, "copied in bulk a number of bytes that is not a multiple of 16", where);
  offsetInBlock(shared, bytes, "copied in bulk to outside of the block's shared memory", where);
  barrierAt(barrier, where);
  Thread &thread = *execution.thread;
  thread.waitsIn = "ptx::copyBulk";
  thread.where = where;
  // Touch both ends of the source here, so that an unreadable one is reported with the copy's line.
  const auto *source = static_cast<const volatile unsigned char *>(global);
  if (bytes > 0) {
    static_cast<void>(source[0]);
    static_cast<void>(source[bytes - 1]);
  }
  execution.counts.asyncCopyBytes += bytes;
  memset(shared, unarrived, bytes);
  thread.block->bulkCopies.push_back({shared, global, bytes, barrier});
}

// Lands one copy of the block that belongs to a barrier: the first, or in a seeded run any.
static bool landOne(Block &block, unsigned long long *barrier) {
  std::vector<BulkCopy> &copies = block.bulkCopies;
  uint32_t count = 0;
  for (const BulkCopy &copy : copies) count += copy.barrier == barrier;
  if (count == 0) return false;
  uint32_t chosen = execution.seeded ? execution.launch->random.below(count) : 0;
  for (size_t i = 0; i < copies.size(); i++) {
    if (copies[i].barrier != barrier || chosen-- != 0) continue;
    const BulkCopy copy = copies[i];
    copies.erase(copies.begin() + ptrdiff_t(i));
    memcpy(copy.shared, copy.global, copy.byteCount);
    auto &state = *reinterpret_cast<CopyBarrier *>(copy.barrier);
    state.bytes -= int32_t(copy.byteCount);
    execution.progress++;
    completeIfArrived(state);
    return true;
  }
  return false;
}

void waitBarrier(unsigned long long *address, unsigned parity, Location where) {
  schedulingPoint();
  CopyBarrier &barrier = barrierAt(address, where);
  Block &block = *execution.thread->block;
  while (barrier.round == (parity & 1)) {
    // Copies land as late as possible: when nothing else can be done, or in a seeded run by chance.
    if (execution.seeded ? execution.launch->random.oneIn(4) : true) {
      if (landOne(block, address)) continue;
    }
    yieldThread("ptx::waitBarrier", where);
  }
}

}  // namespace emulator
