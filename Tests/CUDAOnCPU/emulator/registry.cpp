#include "registry.h"

#include <map>

namespace emulator {

// Never destroyed: kernels may still be running when the process ends.
static std::map<std::string, Kernel, std::less<>> &table() {
  static auto &table = *new std::map<std::string, Kernel, std::less<>>;
  return table;
}

void registerKernel(Kernel kernel) {
  std::string name = kernel.name;
  table().emplace(std::move(name), std::move(kernel));
}

const Kernel *findKernel(std::string_view name) {
  const auto found = table().find(name);
  return found == table().end() ? nullptr : &found->second;
}

std::vector<const Kernel *> kernels(std::string_view prefix) {
  std::vector<const Kernel *> found;
  for (auto i = table().lower_bound(prefix); i != table().end() && i->first.starts_with(prefix); ++i)
    found.push_back(&i->second);
  return found;
}

}  // namespace emulator
