// One decode step of one sequence in one cooperative launch: embedding and all layers; the output head follows as a
// kernel of its own.
//
// Shapes: those of gemv.cu and attention_decode.cu; heads of up to 128 elements.
// Bytes: all ternary weights and the cache so far, once.
// Bound by: the chain of hand-overs, five a layer, each a barrier of the whole grid; weights stream at the same time
// (tape.cuh), because the bytes that a block needs do not depend on the token. Launch: cooperative, 512 threads, at
// most one block a multiprocessor; shared memory sizeof(OneScratch) + depth · 8 KiB + the most that a phase needs.
// decode_one has 12 words a thread under way (96 KiB), decode_one_small six, for devices with less shared memory.
#include "decode_one.cuh"

#ifdef DECODE_TRACE
#define decode_one decode_one_traced
#define decode_one_small decode_one_small_traced
#endif

extern "C" __global__ void __launch_bounds__(512, 1)
decode_one(const __grid_constant__ DecodeParameters p) {
  DYNAMIC_SHARED(shared);
  OneStep<12> step(p, shared);
  step.run();
}

extern "C" __global__ void __launch_bounds__(512, 1)
decode_one_small(const __grid_constant__ DecodeParameters p) {
  DYNAMIC_SHARED(shared);
  OneStep<6> step(p, shared);
  step.run();
}
