// Dynamic shared memory: it ends at a guard page, as far as 16-byte alignment allows, and follows another one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#pragma GCC visibility push(hidden)

namespace emulator {

class SharedArea {
 public:
  // Maps as many pages between the guards as the bytes need. The memory is null when the system has none left.
  explicit SharedArea(size_t byteCount);

  // Returns the first byte, aligned to 128 bytes when the size is a multiple of 128, otherwise to 16.
  unsigned char *start(size_t byteCount) const;
  // Fills the bytes with 0xFF, and the space between them and the guards with a pattern.
  void poison(size_t byteCount);
  // Returns whether the pattern is unchanged.
  bool isIntact(size_t byteCount) const;
  // Returns "… bytes past the end of the block's shared memory", or nothing when the address is not near this area.
  std::string describe(uintptr_t address, size_t byteCount) const;

  size_t pageCount() const { return pages; }

 private:
  size_t pages;
  unsigned char *low;  // the first byte after the lower guard
};

// Areas are kept for reuse.
SharedArea *takeSharedArea(size_t byteCount);
void giveSharedArea(SharedArea *area);

}  // namespace emulator

#pragma GCC visibility pop
