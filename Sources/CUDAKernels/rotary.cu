// Rotary embedding of a prompt's queries, and rotation and storing of its keys and values, for one layer.
//
// Shapes: qkv [rows][(queryHeads + 2·keyValueHeads)·size], queries rotated in place; cache pages of 64 positions.
// Bytes: qkv once in, queries once out, keys and values once out. Bound by: latency.
// Launch: 256 threads; one block a row.
#include "cache.cuh"

/// rows, [gridDim.x]: which rows of the batch; slots, positions: by row.
extern "C" __global__ void __launch_bounds__(256)
rotate_and_append(const Heads h, const Pages pages, int layer, const int *rows, const int *slots, const int *positions, float *qkv,
                  const float *cosines, const float *sines) {
  const int row = rows[blockIdx.x], position = positions[row], slot = slots[row], pairs = h.size / 2;
  float *own = qkv + (size_t)row * widthOf(h);
  for (int place = threadIdx.x; place < h.keyValueHeads * 32; place += blockThreads) {
    // 32 threads a head.
    const int head = place / 32, chunk = position / chunkLength;
    append(own, h, head, pagePart(pages, h, slot, chunk, layer, false, head), pagePart(pages, h, slot, chunk, layer, true, head), position,
           cosines, sines, place % 32, 32);
  }
  for (int place = threadIdx.x; place < h.queryHeads * pairs; place += blockThreads) {
    const int i = place % pairs;
    float *low = own + place / pairs * h.size + i, *high = low + pairs;
    const float a = *low, b = *high, cosine = cosines[(size_t)position * pairs + i], sine = sines[(size_t)position * pairs + i];
    *low = __fmaf_rn(a, cosine, -__fmul_rn(b, sine));
    *high = __fmaf_rn(b, cosine, __fmul_rn(a, sine));
  }
}
