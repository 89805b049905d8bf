// Time stamps of the decode step's phases, in the traced build of the decode kernels (decode_traced.cu).
#pragma once
#include "ptx.cuh"

/// The moments of a phase. Between two neighbours: asking for the next weights, waiting for the other blocks, reading
/// the row, norm and quantiser, products (or attention).
enum Mark { markArrived, markAsked, markReleased, markRead, markQuantized, markDone };
static_assert(markDone + 1 == traceMarks);

#ifdef DECODE_TRACE
/// The clock of the multiprocessor at each mark of one phase, as thread 0 passes it.
struct Marks {
  unsigned *place;
  __device__ __forceinline__ void set(Mark mark) {
    if (threadIdx.x == 0) place[mark] = ptx::ticks();
  }
};
#else
struct Marks {
  __device__ __forceinline__ void set(Mark) {}
};
#endif
