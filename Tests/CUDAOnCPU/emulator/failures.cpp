#include "failures.h"

#include <cstring>

#include "launch.h"
#include "registry.h"

namespace emulator {

std::string textOf(uint3 index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
}

// Returns a one-dimensional index as a number.
static std::string shortText(uint3 index) {
  return index.y == 0 && index.z == 0 ? std::to_string(index.x) : textOf(index);
}

std::string textOf(Location where) {
  const char *file = where.file_name();
  if (const char *slash = strrchr(file, '/')) file = slash + 1;
  return std::string(file) + ":" + std::to_string(where.line());
}

std::string placeOf(const Thread &thread) {
  return "kernel " + thread.block->launch->kernel->name + ", block " + shortText(thread.block->index) + ", thread " +
         shortText(thread.index);
}

// Records a failure in a function of its own, so that all strings are destroyed before the stack is abandoned.
static void enterFailure(Result result, const char *what, Location where) {
  Launch &launch = *execution.launch;
  launch.failure = result;
  launch.message = placeOf(*execution.thread) + ": " + what + " at " + textOf(where);
}

void fail(Result result, const char *what, Location where) {
  enterFailure(result, what, where);
  abandonLaunch();
}

std::string waitersOf(const Launch &launch) {
  constexpr size_t mostPlaces = 12;
  std::string text;
  size_t places = 0;
  for (const Block &block : launch.blocks) {
    const std::vector<Thread> &threads = block.threads;
    for (size_t t = 0; t < threads.size();) {
      // Find the run of threads that wait at the same place.
      const Thread &first = threads[t];
      const auto isAlive = [](const Thread &thread) { return (thread.warp->alive & thread.bit()) != 0; };
      const auto alike = [&](const Thread &thread) {
        return isAlive(thread) == isAlive(first) && thread.waitsIn == first.waitsIn &&
               thread.where.line() == first.where.line();
      };
      size_t end = t + 1;
      while (end < threads.size() && alike(threads[end])) end++;
      if (isAlive(first)) {
        if (++places > mostPlaces) return text + "; and others";
        if (!text.empty()) text += "; ";
        text += "block " + shortText(block.index) + ", thread";
        text += end - t > 1 ? "s " + std::to_string(t) + "..." + std::to_string(end - 1) + " wait"
                            : " " + std::to_string(t) + " waits";
        text += " in " + std::string(first.waitsIn ? first.waitsIn : "nothing") + " at " + textOf(first.where);
      }
      t = end;
    }
  }
  return text;
}

}  // namespace emulator
