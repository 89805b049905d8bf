// Rotary embedding of a prompt's queries, and rotation and storing of its keys and values, for one layer.
//
// Shapes: qkv [rows][(queryHeads + 2·keyValueHeads)·size], queries rotated in place; cache pages of 64 positions.
// Bytes: qkv once in, queries once out, keys and values once out. Bound by: latency.
// Launch: 256 threads; one block a row.
#include "cache.cuh"

extern "C" __global__ void __launch_bounds__(256)
rotate_and_append(const RotateParameters p) {
  const Heads &h = p.heads;
  const int row = p.rows[blockIdx.x], position = p.positions[row], slot = p.slots[row], pairs = h.size / 2;
  float *own = p.qkv + (size_t)row * widthOf(h);
  for (int place = threadIdx.x; place < h.keyValueHeads * 32; place += blockThreads) {
    // 32 threads a head.
    const int head = place / 32, chunk = position / chunkLength;
    append(own, h, head, pagePart(p.pages, h, slot, chunk, p.layer, false, head),
           pagePart(p.pages, h, slot, chunk, p.layer, true, head), position, p.cosines, p.sines, place % 32, 32);
  }
  for (int place = threadIdx.x; place < h.queryHeads * pairs; place += blockThreads) {
    const int i = place % pairs;
    float *low = own + place / pairs * h.size + i, *high = low + pairs;
    const float a = *low, b = *high, cosine = p.cosines[(size_t)position * pairs + i],
                sine = p.sines[(size_t)position * pairs + i];
    *low = __fmaf_rn(a, cosine, -__fmul_rn(b, sine));
    *high = __fmaf_rn(b, cosine, __fmul_rn(a, sine));
  }
}
