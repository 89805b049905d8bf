// Device memory and pinned host memory: every allocation has its own mapping between guard pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "results.h"

#pragma GCC visibility push(hidden)

namespace emulator {

// The contents of new memory, and of the bytes between an allocation and its guard pages.
constexpr unsigned char poisonByte = 0xFF;
constexpr unsigned char canary = 0xA5;

size_t pageByteCount();
bool holdsOnly(unsigned char byte, const unsigned char *bytes, size_t count);

// All functions may be called from any OS thread.
namespace memory {

enum class Kind { device, pinned };

// Allocates memory at a multiple of 256, filled with 0xFF: a NaN in any floating-point format, and not a valid index.
// The limit applies to device memory but not to pinned memory.
Result allocate(size_t byteCount, Kind kind, uintptr_t &address);
// Frees the allocation that starts at the address. Its pages stay unreadable for a long time.
Result release(uintptr_t address, Kind kind);
void releaseAll();

void setLimit(uint64_t byteCount);
uint64_t limit();
uint64_t used();

// Returns whether one live allocation, of any kind or of this kind, contains the whole range.
bool contains(uintptr_t address, size_t byteCount);
bool contains(uintptr_t address, size_t byteCount, Kind kind);

// Returns whether a live allocation, which consists of whole lines, contains the 128-byte line at the address.
bool containsLine(uintptr_t address);

// Describes a live allocation with a stray write next to it; empty if there is none.
std::string damage();
// Describes the address relative to the nearest allocation.
std::string describe(uintptr_t address);

}  // namespace memory
}  // namespace emulator

#pragma GCC visibility pop
