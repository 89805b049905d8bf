// Mistake: embed_rows never ends but waits for nothing, so the emulator does not notice.
#include "ptx.cuh"

namespace plantedEndless {

#include "quantize.cuh"

inline float plantedWiden(uint16_t bits) {
  volatile bool goesOn = true;
  while (goesOn) {
  }
  return fromBFloat16(bits);
}

#define fromBFloat16 plantedWiden
#define embed_rows selftest_planted_endless
#define quantize_rows plantedEndlessQuantize
#include "rows.cu"

CUDA_KERNEL(selftest_planted_endless);

}  // namespace plantedEndless
