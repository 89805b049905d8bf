// Device memory and pinned host memory: every allocation is a mapping of its own between guard pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "results.h"

#pragma GCC visibility push(hidden)

namespace emulator {

// Fresh memory, and the bytes between an allocation and its guard pages.
constexpr unsigned char poisonByte = 0xFF;
constexpr unsigned char canary = 0xA5;

size_t pageByteCount();
bool holdsOnly(unsigned char byte, const unsigned char *bytes, size_t count);

// All functions may be called from any OS thread.
namespace memory {

enum class Kind { device, pinned };

// Starts on a multiple of 256 and is filled with 0xFF: no floating-point number of any width, and no index. Device
// memory is bounded by the limit, pinned memory is not.
Result allocate(size_t byteCount, Kind kind, uintptr_t &address);
// The address must be an allocation's start. Its pages stay unreadable for a long time.
Result release(uintptr_t address, Kind kind);
void releaseAll();

void setLimit(uint64_t byteCount);
uint64_t limit();
uint64_t used();

// Whether the whole range lies in one living allocation, of either kind or of this kind.
bool contains(uintptr_t address, size_t byteCount);
bool contains(uintptr_t address, size_t byteCount, Kind kind);

// Whether the 128-byte line at the address lies in a living allocation, which is whole lines long.
bool containsLine(uintptr_t address);

// The living allocation that a stray write has damaged the surroundings of, in words; empty when there is none.
std::string damage();
// Where the address lies relative to the nearest allocation.
std::string describe(uintptr_t address);

}  // namespace memory
}  // namespace emulator

#pragma GCC visibility pop
