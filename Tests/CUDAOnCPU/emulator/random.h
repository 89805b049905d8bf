// A small random number generator (splitmix64); a seed gives the same run on every machine.
#pragma once

#include <cstdint>

namespace emulator {

struct Random {
  uint64_t state = 0;

  uint64_t next() {
    uint64_t z = state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
  }

  // Returns a number in 0..<bound, with a bias that does not matter here.
  uint32_t below(uint32_t bound) { return uint32_t((next() >> 32) * bound >> 32); }
  bool oneIn(uint32_t n) { return below(n) == 0; }
};

}  // namespace emulator
