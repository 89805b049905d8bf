// Mistake: additions to counters that threads share are a load and a store.
#include "ptx.cuh"

namespace plantedPlainAddition {

template <class T> inline T atomicAdd(T *address, std::type_identity_t<T> value) {
  const T old = *address;
  emulator::interruptible();
  *address = old + value;
  return old;
}

#define sample_rows selftest_planted_plain_addition
#define adjust_rows selftest_planted_plain_adjustment
#define describe_rows selftest_planted_plain_description
#include "sample.cu"

CUDA_KERNEL(selftest_planted_plain_addition);

}  // namespace plantedPlainAddition
