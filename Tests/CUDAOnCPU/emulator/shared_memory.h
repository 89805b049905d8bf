// Dynamic shared memory: it ends at a guard page, as far as 16-byte alignment allows, and another one lies below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#pragma GCC visibility push(hidden)

namespace emulator {

class SharedArea {
 public:
  // The pages between the guards are as many as the bytes need; null memory when the system has none left.
  explicit SharedArea(size_t byteCount);

  // Aligned to 128 bytes when the size is a multiple of 128, otherwise to 16.
  unsigned char *start(size_t byteCount) const;
  // Fills the bytes with 0xFF and what lies between them and the guards with a pattern.
  void poison(size_t byteCount);
  // Whether the pattern is still there.
  bool isIntact(size_t byteCount) const;
  // "… bytes past the end of the block's shared memory", or nothing when the address is not near this area.
  std::string describe(uintptr_t address, size_t byteCount) const;

  size_t pageCount() const { return pages; }

 private:
  size_t pages;
  unsigned char *low;  // the first byte after the lower guard
};

// Areas are kept and used again.
SharedArea *takeSharedArea(size_t byteCount);
void giveSharedArea(SharedArea *area);

}  // namespace emulator

#pragma GCC visibility pop
