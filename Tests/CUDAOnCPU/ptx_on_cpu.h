// The namespace ptx for the emulator; included by cuda_on_cpu.h.
#pragma once

#include <cstring>

#include "emulator/builtins.h"
#include "emulator/failures.h"
#include "emulator/vectors.h"

#pragma GCC visibility push(hidden)

namespace ptx {

using emulator::Location;

// Returns c plus the products of four unsigned bytes with four signed ones.
inline int dp4a(unsigned a, int b, int c) {
  emulator::execution.counts.dotProducts++;
  unsigned sum = unsigned(c);
  for (int i = 0; i < 4; i++) sum += unsigned(int(uint8_t(a >> 8 * i)) * int(int8_t(uint8_t(unsigned(b) >> 8 * i))));
  return int(sum);
}

inline int dp4aSigned(int a, int b, int c) {
  emulator::execution.counts.dotProducts++;
  unsigned sum = unsigned(c);
  for (int i = 0; i < 4; i++)
    sum += unsigned(int(int8_t(uint8_t(unsigned(a) >> 8 * i))) * int(int8_t(uint8_t(unsigned(b) >> 8 * i))));
  return int(sum);
}

// Adds A·B to C over the warp, 16×8×32, with unsigned bytes in A and signed bytes in B.
inline void mma(int (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1,
                Location where = Location::current()) {
  const unsigned a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
  emulator::matrixProduct(c, a, b, false, where);
}
// The same with signed bytes in A.
inline void mmaSigned(int (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1,
                      Location where = Location::current()) {
  const unsigned a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
  emulator::matrixProduct(c, a, b, true, where);
}

// Asynchronous copies land when their thread waits for their group; until then shared memory is unchanged.

inline void copyAsync16(void *shared, const void *global, Location where = Location::current()) {
  emulator::copyAsync(shared, global, where);
}
// Writes zeros, without reading `global`, when not valid.
inline void copyAsync16Zero(void *shared, const void *global, bool valid, Location where = Location::current()) {
  emulator::copyAsync(shared, valid ? global : nullptr, where);
}
inline void commitAsync() { emulator::commitAsync(); }
template <int N>
inline void waitAsync() {
  static_assert(N >= 0);
  emulator::waitAsync(N);
}

inline void initBarrier(unsigned long long *barrier, Location where = Location::current()) {
  emulator::initBarrier(barrier, where);
}
inline void expectBytes(unsigned long long *barrier, unsigned bytes, Location where = Location::current()) {
  emulator::expectBytes(barrier, bytes, where);
}
inline void copyBulk(void *shared, const void *global, unsigned bytes, unsigned long long *barrier,
                     Location where = Location::current()) {
  emulator::copyBulk(shared, global, bytes, barrier, where);
}
inline void waitBarrier(unsigned long long *barrier, unsigned parity, Location where = Location::current()) {
  emulator::waitBarrier(barrier, parity, where);
}

inline uint4 loadStream(const uint4 *address, Location where = Location::current()) {
  emulator::interruptible();
  emulator::checkAligned(address, "ptx::loadStream of an address that is not aligned to 16 bytes", where);
  emulator::execution.counts.streamedBytes += 16;
  return *address;
}
inline unsigned loadStream(const unsigned *address) {
  emulator::interruptible();
  emulator::execution.counts.streamedBytes += 4;
  return *address;
}
// Fetches nothing, but fails for a bad address. A GPU ignores one, but then the wanted line is not prefetched.
inline void prefetchL2(const void *address, Location where = Location::current()) {
  emulator::checkPrefetched(address, where);
}

inline unsigned loadAcquire(const unsigned *address, Location where = Location::current()) {
  return emulator::loadAcquire(address, where);
}
inline unsigned loadAcquireSystem(const unsigned *address, Location where = Location::current()) {
  return emulator::loadAcquire(address, where);
}
inline void storeReleaseSystem(unsigned *address, unsigned value) { emulator::storeRelease(address, value); }
inline void storeReleaseSystem(unsigned long long *address, unsigned long long value) {
  emulator::storeRelease(address, value);
}
inline unsigned addRelease(unsigned *address, unsigned value) {
  emulator::landLateStores();
  return emulator::addAtomically(address, value);
}
inline unsigned addRelaxed(unsigned *address, unsigned value) { return emulator::addAtomically(address, value); }
inline unsigned loadRelaxed(const unsigned *address, Location where = Location::current()) {
  return emulator::loadAcquire(address, where);
}
inline float loadRelaxed(const float *address, Location where = Location::current()) {
  return emulator::loadRelaxed(address, where);
}
inline void storeRelaxed(float *address, float value) { emulator::storeLate(address, value); }

inline int reduceAdd(int value, Location where = Location::current()) {
  return int(unsigned(emulator::collective(emulator::Collective::add, ~0u, unsigned(value), where)));
}
inline unsigned reduceMax(unsigned value, Location where = Location::current()) {
  return unsigned(emulator::collective(emulator::Collective::maximum, ~0u, value, where));
}

// Rounds to nearest, ties to even; every NaN becomes 0x7FFF.
inline unsigned short toBFloat16(float value) {
  if (value != value) return 0x7FFF;
  unsigned bits;
  memcpy(&bits, &value, sizeof bits);
  return static_cast<unsigned short>((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

// Returns a larger number on every call, in place of a clock.
inline unsigned ticks() {
  emulator::interruptible();
  return unsigned(++emulator::execution.ticks);
}
inline void trap(Location where = Location::current()) {
  emulator::fail(emulator::launchFailed, "called ptx::trap", where);
}

// The number of polls before a kernel reports a stall. A thread polls again only when no other can run, so few polls
// are enough. It is below the scheduler's rounds before it checks the time (wakeYielded), so that a kernel's own report
// comes before the emulator's.
constexpr unsigned mostPolls = 64;

// Must be called by one thread of every block for each grid barrier.
inline void countGridBarrier() { emulator::execution.counts.gridBarrierCalls++; }

}  // namespace ptx

#pragma GCC visibility pop
