// Relaxed stores, which become visible to other blocks late and in any order.
#include <utility>

#include "builtins.h"
#include "launch.h"

namespace emulator {

void Launch::land(size_t index) {
  const LateStore store = lateStores[index];
  *store.address = store.value;
  lateAddresses.erase(store.address);
  if (index + 1 < lateStores.size()) {
    lateStores[index] = lateStores.back();
    lateAddresses[lateStores[index].address] = index;
  }
  lateStores.pop_back();
  execution.progress++;
}

void storeLate(float *address, float value) {
  schedulingPoint();
  Launch &launch = *execution.launch;
  // Touch the destination here, so that a bad one is reported with the store's line.
  static_cast<void>(*static_cast<volatile float *>(address));
  // Stores to one address keep their order.
  if (const auto earlier = launch.lateAddresses.find(address); earlier != launch.lateAddresses.end())
    launch.land(earlier->second);
  launch.lateAddresses[address] = launch.lateStores.size();
  launch.lateStores.push_back({address, value, execution.thread->block});
  if (execution.seeded && launch.random.oneIn(2)) launch.land(launch.random.below(uint32_t(launch.lateStores.size())));
}

void landLateStores() {
  Launch &launch = *execution.launch;
  for (size_t i = 0; i < launch.lateStores.size();)
    if (launch.lateStores[i].block == execution.thread->block)
      launch.land(i);
    else
      i++;
}

float loadRelaxed(const float *address, Location where) {
  schedulingPoint();
  Launch &launch = *execution.launch;
  // A block sees its own stores.
  if (const auto late = launch.lateAddresses.find(address);
      late != launch.lateAddresses.end() && launch.lateStores[late->second].block == execution.thread->block)
    launch.land(late->second);
  const unsigned bits = loadAcquire(reinterpret_cast<const unsigned *>(address), where);
  float value;
  static_assert(sizeof value == sizeof bits);
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace emulator
