#include "shared_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <new>
#include <vector>

#include "memory.h"

namespace emulator {

static size_t pagesFor(size_t byteCount) { return (byteCount + pageByteCount() - 1) / pageByteCount(); }
static size_t rounded(size_t byteCount) { return (byteCount + 15) / 16 * 16; }

SharedArea::SharedArea(size_t byteCount) : pages(pagesFor(byteCount)) {
  const size_t page = pageByteCount();
  void *memory = mmap(nullptr, (pages + 2) * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  low = static_cast<unsigned char *>(memory) + page;
  if (pages > 0 && mprotect(low, pages * page, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
}

unsigned char *SharedArea::start(size_t byteCount) const { return low + pages * pageByteCount() - rounded(byteCount); }

void SharedArea::poison(size_t byteCount) {
  unsigned char *const first = start(byteCount);
  memset(low, canary, size_t(first - low));
  memset(first, poisonByte, byteCount);
  memset(first + byteCount, canary, rounded(byteCount) - byteCount);
}

bool SharedArea::isIntact(size_t byteCount) const {
  const unsigned char *const first = start(byteCount);
  return holdsOnly(canary, low, size_t(first - low)) &&
         holdsOnly(canary, first + byteCount, rounded(byteCount) - byteCount);
}

std::string SharedArea::describe(uintptr_t address, size_t byteCount) const {
  const uintptr_t first = reinterpret_cast<uintptr_t>(start(byteCount)), end = first + byteCount;
  const std::string size = " the block's " + std::to_string(byteCount) + " bytes of shared memory";
  if (address >= end && address - end < pageByteCount())
    return std::to_string(address - end) + " bytes past the end of" + size;
  if (address < first && first - address <= 2 * pageByteCount())
    return std::to_string(first - address) + " bytes before" + size;
  return "";
}

static std::map<size_t, std::vector<SharedArea *>> &freeAreas() {
  static auto &areas = *new std::map<size_t, std::vector<SharedArea *>>;
  return areas;
}

SharedArea *takeSharedArea(size_t byteCount) {
  std::vector<SharedArea *> &areas = freeAreas()[pagesFor(byteCount)];
  if (areas.empty()) return new SharedArea(byteCount);
  SharedArea *area = areas.back();
  areas.pop_back();
  return area;
}

void giveSharedArea(SharedArea *area) { freeAreas()[area->pageCount()].push_back(area); }

}  // namespace emulator
