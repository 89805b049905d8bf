// The parts of the decode step of one sequence that do not depend on how weights reach a block: blocks of 512 threads,
// one on each multiprocessor.
#pragma once
#include "attention_short.cuh"
#include "one_row.cuh"

/// A block of the step.
struct OneBlock {
  const DecodeModel &d;
  const DecodeSequences &sequences;
  int handOver = 0, position, slot;

  __device__ __forceinline__ OneBlock(const DecodeParameters &p)
      : d(p.model), sequences(*p.sequences), position(p.sequences->positions[0]), slot(p.sequences->slots[0]) {}

  __device__ __forceinline__ Marks marks() const {
#ifdef DECODE_TRACE
    return Marks{d.trace + ((size_t)handOver * gridDim.x + blockIdx.x) * traceMarks};
#else
    return Marks{};
#endif
  }
  __device__ __forceinline__ unsigned arrive() const { return ptx::gridArrive(d.barrier); }
  __device__ __forceinline__ void wait(unsigned ticket) { ptx::gridWait(d.barrier, ticket, handOver++, d.stalls); }

  /// Attention of a layer: the chunks of the heads, dealt out to the blocks in turn. The keys and values of a block's
  /// first chunk, except those of this step, are loaded while the block waits for the queries.
  __device__ __forceinline__ void attend(int index, ShortScratch &scratch) {
    Marks marks = this->marks();
    const unsigned ticket = arrive();
    marks.set(markArrived);
    const int heads = d.attention.heads.keyValueHeads, items = (position / chunkLength + 1) * heads;
    int item = blockIdx.x;
    if (item >= items) {
      marks.set(markAsked);
      wait(ticket);
      marks.set(markReleased);
    } else {
      ChunkPart part(d.attention, index, slot, item % heads, item / heads, position);
      ChunkLoads<oneThreads> loads(d.attention, part);
      marks.set(markAsked);
      wait(ticket);
      marks.set(markReleased);
#pragma unroll 1
      for (;;) {
        attendShort<oneThreads>(d.attention, 0, 0, part, loads, scratch);
        item += gridDim.x;
        if (item >= items) break;
        part = ChunkPart(d.attention, index, slot, item % heads, item / heads, position);
        loads = ChunkLoads<oneThreads>(d.attention, part);
      }
    }
    marks.set(markDone);
  }

  /// The embedding's row. The first hand-over begins with a barrier of the block, after which all of it has arrived.
  __device__ __forceinline__ void embed() const {
    for (int i = blockIdx.x * oneThreads + threadIdx.x; i < d.hidden; i += gridDim.x * oneThreads)
      d.x[i] = fromBFloat16(d.embedding[(size_t)sequences.tokens[0] * d.hidden + i]);
  }
};
