// Attention of single tokens: rotary embedding, storing of key and value, scores, softmax and weighted values, for one
// layer.
//
// Shapes: qkv [rows][(queryHeads + 2·keyValueHeads)·size]; cache pages of 64 positions; out [rows][outStride].
// Bytes: the cache of the positions so far, once: 2·2·keyValueHeads·padded a position.
// Bound by: latency up to some thousand positions, memory beyond.
// Launch: 256 threads; grid (blocks for the chunks, keyValueHeads, rows); shared memory as
// attention_decode.cuh lists it.
#include "attention_decode.cuh"

extern "C" __global__ void __launch_bounds__(256, 1)
attend_decode(const AttendDecodeParameters p) {
  DYNAMIC_SHARED(shared);
  // In locals: of a parameter's fields the compiler knows less, and unrolls fewer loops.
  const DecodeAttention a = p.attention;
  const int *slots = p.slots;
  const int layer = p.layer;
  const int row = p.rows[blockIdx.z], position = p.positions[row];
  for (int chunk = blockIdx.x; chunk <= position / chunkLength; chunk += gridDim.x)
    attendPart(a, row, blockIdx.z, ChunkPart(a, layer, slots[row], blockIdx.y, chunk, position), shared);
}
