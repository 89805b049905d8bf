#include "memory.h"

#include "builtins.h"
#include "failures.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>

namespace emulator {

size_t pageByteCount() {
  static const size_t count = size_t(sysconf(_SC_PAGESIZE));
  return count;
}

bool holdsOnly(unsigned char byte, const unsigned char *bytes, size_t count) {
  // The first byte is right and every byte equals the next one.
  return count == 0 || (bytes[0] == byte && memcmp(bytes, bytes + 1, count - 1) == 0);
}

void checkPrefetched(const void *address, Location where) {
  if (!memory::containsLine(reinterpret_cast<uintptr_t>(address)))
    fail(illegalAddress, "prefetched a line that lies in no allocation", where);
}

namespace memory {
namespace {

// The number of freed mappings that are kept unreadable, to detect uses after free.
constexpr size_t quarantineCount = 4096;

struct Allocation {
  char *mapping;  // the lower guard page
  size_t mappedByteCount;
  uintptr_t start;
  size_t byteCount;
  Kind kind;

  size_t roundedByteCount() const { return (byteCount + 255) / 256 * 256; }
  const unsigned char *bytes() const { return reinterpret_cast<const unsigned char *>(start); }
  // Returns the number of bytes before the start that are checked for stray writes.
  size_t slackBefore() const {
    return std::min(size_t{256}, start - reinterpret_cast<uintptr_t>(mapping) - pageByteCount());
  }
  bool isIntact() const {
    return holdsOnly(canary, bytes() - slackBefore(), slackBefore()) &&
           holdsOnly(canary, bytes() + byteCount, roundedByteCount() - byteCount);
  }
};

struct State {
  std::mutex mutex;
  std::map<uintptr_t, Allocation> living;  // by start
  std::map<uintptr_t, Allocation> freed;
  std::deque<uintptr_t> freedInOrder;
  uint64_t limit = 0;
  uint64_t used = 0;
};

// Never destroyed: kernels may still be running when the process ends.
State &state() {
  static auto &state = *new State;
  return state;
}

const Allocation *find(const State &state, uintptr_t address, size_t byteCount) {
  auto next = state.living.upper_bound(address);
  if (next == state.living.begin()) return nullptr;
  const Allocation &allocation = (--next)->second;
  const size_t offset = address - allocation.start;
  return offset <= allocation.byteCount && byteCount <= allocation.byteCount - offset ? &allocation : nullptr;
}

std::string name(const Allocation &allocation) {
  char address[32];
  snprintf(address, sizeof address, "%#zx", size_t(allocation.start));
  const char *kind = allocation.kind == Kind::device ? "device" : "pinned";
  return std::to_string(allocation.byteCount) + " bytes of " + kind + " memory at " + address;
}

void retire(State &state, std::map<uintptr_t, Allocation>::iterator position) {
  const Allocation allocation = position->second;
  state.living.erase(position);
  if (allocation.kind == Kind::device) state.used -= allocation.roundedByteCount();
  // A new unreadable mapping in the same place returns the memory to the system.
  mmap(allocation.mapping, allocation.mappedByteCount, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  state.freed[allocation.start] = allocation;
  state.freedInOrder.push_back(allocation.start);
  if (state.freedInOrder.size() <= quarantineCount) return;
  const Allocation &oldest = state.freed[state.freedInOrder.front()];
  munmap(oldest.mapping, oldest.mappedByteCount);
  state.freed.erase(state.freedInOrder.front());
  state.freedInOrder.pop_front();
}

}  // namespace

Result allocate(size_t byteCount, Kind kind, uintptr_t &address) {
  State &s = state();
  const std::lock_guard lock(s.mutex);
  if (byteCount == 0) return invalidValue;
  const size_t page = pageByteCount();
  Allocation allocation{nullptr, 0, 0, byteCount, kind};
  // This is more than any machine has, and small enough that sums cannot wrap around.
  if (byteCount > size_t{1} << 46) return outOfMemory;
  const size_t rounded = allocation.roundedByteCount();
  if (kind == Kind::device && rounded > s.limit - std::min(s.limit, s.used)) return outOfMemory;
  const size_t readable = (rounded + page - 1) / page * page;
  allocation.mappedByteCount = readable + 2 * page;
  void *mapping =
      mmap(nullptr, allocation.mappedByteCount, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return outOfMemory;
  allocation.mapping = static_cast<char *>(mapping);
  if (mprotect(allocation.mapping + page, readable, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, allocation.mappedByteCount);
    return outOfMemory;
  }
  char *const start = allocation.mapping + page + readable - rounded;
  address = allocation.start = reinterpret_cast<uintptr_t>(start);
  memset(start - allocation.slackBefore(), canary, allocation.slackBefore());
  memset(start, poisonByte, byteCount);
  memset(start + byteCount, canary, rounded - byteCount);
  s.living[address] = allocation;
  if (kind == Kind::device) s.used += rounded;
  return success;
}

Result release(uintptr_t address, Kind kind) {
  State &s = state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.living.find(address);
  if (found == s.living.end() || found->second.kind != kind) return invalidValue;
  retire(s, found);
  return success;
}

void releaseAll() {
  State &s = state();
  const std::lock_guard lock(s.mutex);
  while (!s.living.empty()) retire(s, s.living.begin());
}

void setLimit(uint64_t byteCount) {
  const std::lock_guard lock(state().mutex);
  state().limit = byteCount;
}

uint64_t limit() {
  const std::lock_guard lock(state().mutex);
  return state().limit;
}

uint64_t used() {
  const std::lock_guard lock(state().mutex);
  return state().used;
}

bool contains(uintptr_t address, size_t byteCount) {
  const std::lock_guard lock(state().mutex);
  return find(state(), address, byteCount) != nullptr;
}

bool contains(uintptr_t address, size_t byteCount, Kind kind) {
  const std::lock_guard lock(state().mutex);
  const Allocation *allocation = find(state(), address, byteCount);
  return allocation && allocation->kind == kind;
}

bool containsLine(uintptr_t address) {
  const std::lock_guard lock(state().mutex);
  auto next = state().living.upper_bound(address);
  return next != state().living.begin() && address < (--next)->first + next->second.roundedByteCount();
}

std::string damage() {
  const std::lock_guard lock(state().mutex);
  for (const auto &[start, allocation] : state().living)
    if (!allocation.isIntact()) return "wrote just outside of " + name(allocation);
  return "";
}

std::string describe(uintptr_t address) {
  const std::lock_guard lock(state().mutex);
  if (address < 4096) return std::to_string(address) + " bytes from the null pointer";
  const Allocation *nearest = nullptr;
  uintptr_t distance = ~uintptr_t{0};
  bool freed = false;
  for (const auto *allocations : {&state().living, &state().freed})
    for (const auto &[start, allocation] : *allocations) {
      const uintptr_t end = start + allocation.byteCount;
      const uintptr_t away = address < start ? start - address : address >= end ? address - end : 0;
      // Prefer a live allocation, unless the address is inside a freed one.
      if (away >= distance || (allocations == &state().freed && away != 0)) continue;
      nearest = &allocation;
      distance = away;
      freed = allocations == &state().freed;
    }
  if (!nearest) return "there are no allocations";
  const uintptr_t end = nearest->start + nearest->byteCount;
  std::string text = freed ? "freed " + name(*nearest) : name(*nearest);
  if (address < nearest->start) return std::to_string(nearest->start - address) + " bytes before " + text;
  if (address >= end) return std::to_string(address - end) + " bytes past the end of " + text;
  return std::to_string(address - nearest->start) + " bytes into " + text;
}

}  // namespace memory
}  // namespace emulator
