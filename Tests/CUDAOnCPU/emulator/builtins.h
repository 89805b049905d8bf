// The implementation of CUDA's builtins and the ptx namespace; cuda_on_cpu.h gives them their CUDA names.
#pragma once

#include <cstdint>

#include "results.h"
#include "threads.h"

#pragma GCC visibility push(hidden)

namespace emulator {

enum class Collective : uint32_t { synchronize, shuffle, ballot, any, all, add, maximum, matrix };
enum class Shuffle : uint32_t { index, up, down, exclusiveOr };

void blockBarrier(Location where);

// Waits until every live lane of `mask` has reached the same collective.
uint64_t collective(Collective kind, uint32_t mask, uint64_t value, Location where);
uint64_t shuffle(Shuffle shuffle, uint32_t byteCount, uint32_t mask, uint64_t value, uint32_t operand, int width,
                 Location where);
void matrixProduct(int (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], bool isSigned, Location where);

// Marks a point where a seeded run may switch to another thread.
void mayBeInterrupted();
inline void interruptible() {
  if (__builtin_expect(execution.seeded, false)) mayBeInterrupted();
}

// Starts a copy, which lands when its thread waits for it or, in a seeded run, sometimes at once. `global` is null for
// zeros.
void copyAsync(void *shared, const void *global, Location where);
void commitAsync();
void waitAsync(uint32_t groupsLeft);

// Barriers in shared memory for bulk copies. A copy lands, whole, when a thread waits for its barrier; until then its
// destination holds bytes that nothing else writes.
void initBarrier(unsigned long long *barrier, Location where);
void expectBytes(unsigned long long *barrier, unsigned bytes, Location where);
void copyBulk(void *shared, const void *global, unsigned bytes, unsigned long long *barrier, Location where);
void waitBarrier(unsigned long long *barrier, unsigned parity, Location where);

// Loads with acquire semantics; a second load in a row lets other threads run first.
unsigned loadAcquire(const unsigned *address, Location where);
// Lets other threads run after an exchange that left memory unchanged, as when another thread holds a lock.
void spin(Location where);

// A relaxed store becomes visible when its block next releases, or in a seeded run at any time before; to its own block
// at once. A relaxed load of the same word twice in a row lets other threads run first.
void storeLate(float *address, float value);
void landLateStores();
float loadRelaxed(const float *address, Location where);

[[noreturn]] void failMisaligned(const char *what, Location where);
// Fails unless the 128-byte line that contains the address belongs to an allocation; allocations consist of whole
// lines.
void checkPrefetched(const void *address, Location where);

inline void checkAligned(const void *address, const char *what, Location where) {
  if (__builtin_expect((reinterpret_cast<uintptr_t>(address) & 15) != 0, false)) failMisaligned(what, where);
}

}  // namespace emulator

#pragma GCC visibility pop
