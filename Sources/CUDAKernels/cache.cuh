// The KV cache: pages of 64 positions, bfloat16, and the rotary embedding before it.
#pragma once
#include "canonical.cuh"

/// Query heads that share a key/value head.
__device__ __forceinline__ int groupOf(const Heads &h) { return h.queryHeads / h.keyValueHeads; }
/// Elements of a token's [q | k | v].
__device__ __forceinline__ int widthOf(const Heads &h) { return (h.queryHeads + 2 * h.keyValueHeads) * h.size; }

/// A sequence's page for a chunk.
__device__ __forceinline__ uint16_t *pageOf(const Pages &pages, int slot, int chunk) {
  return (uint16_t *)ptx::loadCoherent(pages.addresses + (size_t)slot * pages.capacity + chunk);
}

/// A layer's keys (or values) of one head in a page: [64][padded].
__device__ __forceinline__ uint16_t *partOfPage(uint16_t *page, const Heads &h, int layer, bool values, int head) {
  return page + ((size_t)(2 * layer + values) * h.keyValueHeads + head) * chunkLength * h.padded;
}

/// The same of a sequence's page for a chunk.
__device__ __forceinline__ uint16_t *pagePart(const Pages &pages, const Heads &h, int slot, int chunk, int layer,
                                              bool values, int head) {
  return partOfPage(pageOf(pages, slot, chunk), h, layer, values, head);
}

/// Element i of a head after the rotation by a position's angles: dimensions i and i + size/2 turn together.
__device__ __forceinline__ float rotated(const float *x, int i, int pairs, const float *cosines, const float *sines) {
  if (i < pairs) {
    const float a = ptx::loadCoherent(x + i), b = ptx::loadCoherent(x + pairs + i);
    return __fmaf_rn(a, cosines[i], -__fmul_rn(b, sines[i]));
  }
  const int p = i - pairs;
  const float a = ptx::loadCoherent(x + p), b = ptx::loadCoherent(x + i);
  return __fmaf_rn(b, cosines[p], __fmul_rn(a, sines[p]));
}

/// Stores one position's key and value of one head; threads take elements `thread`, `thread + threads`, ….
/// qkv: the token's [q | k | v]; angles: [positions][size/2] cosines and sines.
__device__ __forceinline__ void append(const float *qkv, const Heads &h, int head, uint16_t *keys, uint16_t *values,
                                       int position, const float *cosines, const float *sines, int thread,
                                       int threads) {
  const int pairs = h.size / 2, slot = position % chunkLength;
  const float *key = qkv + (h.queryHeads + head) * h.size, *value = key + h.keyValueHeads * h.size;
  for (int i = thread; i < h.size; i += threads) {
    keys[slot * h.padded + i] =
        ptx::toBFloat16(rotated(key, i, pairs, cosines + (size_t)position * pairs, sines + (size_t)position * pairs));
    values[slot * h.padded + i] = ptx::toBFloat16(ptx::loadCoherent(value + i));
  }
}
