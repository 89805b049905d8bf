// One decode step of one sequence in one cooperative launch, as decode_one.cu, on a GPU whose blocks together have room
// for the weights of a layer in shared memory (capability 9.0 or later).
//
// Shapes: those of gemv.cu and attention_decode.cu; heads of up to 128 elements; at most 32 tile rows of a matrix for
// each block.
// Bytes: all ternary weights and the cache so far, once.
// Bound by: the chain of hand-overs, five a layer. Launch: cooperative, 512 threads, at most one block a
// multiprocessor; shared memory sizeof(ResidentScratch) + the most that a phase needs + the block's rows of the four
// matrices.
#include "decode_resident.cuh"

#ifdef DECODE_TRACE
#define decode_resident decode_resident_traced
#endif

extern "C" __global__ void __launch_bounds__(512, 1)
decode_resident(const __grid_constant__ DecodeParameters p) {
  DYNAMIC_SHARED(shared);
  ResidentStep step(p, shared);
  step.run();
}
