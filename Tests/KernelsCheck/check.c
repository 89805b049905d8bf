// Runs every kernel of every instruction set that this machine has on seeded inputs. Compares integer results, norms
// and the head with plain scalar code, and everything else with the portable set, bit for bit. Prints a line for each
// case with a hash of its results but not the names of the sets, so that two machines print the same lines.
//
// usage: check [--seed N] [--quick] [--set NAME]
//   --set (or BITNET_INSTRUCTION_SET): check only this set and the portable one
#include "check.h"

#include <math.h>

_Static_assert(sizeof(TernaryKernels) == 22 * sizeof(void *),
               "a kernel was added or removed; expected one function below for each");

static bool quick;

static ptrdiff_t padded(ptrdiff_t n, ptrdiff_t unit) { return (n + unit - 1) / unit * unit; }

// Integer products.

typedef enum { RANDOM, LOWEST, HIGHEST } Codes;
static const char *const codeNames[] = {"random", "-128", "127"};

static int8_t drawCode(Codes kind) {
  return (int8_t)(kind == LOWEST ? -128 : kind == HIGHEST ? 127 : below(256) - 128);
}

/// Draws vectors of codes, [count][stride], with zeros from n to a multiple of 64 bytes, where the last vector ends.
/// Stores their sums in slot + 1.
static int8_t *drawCodes(int slot, ptrdiff_t count, ptrdiff_t n, ptrdiff_t stride, Codes kind) {
  const ptrdiff_t whole = padded(n, 64);
  int8_t *codes = input(slot, (size_t)((count - 1) * stride + whole));
  int32_t *sums = input(slot + 1, (size_t)count * 4);
  for (ptrdiff_t t = 0; t < count; t++) {
    int8_t *c = codes + t * stride;
    sums[t] = 0;
    for (ptrdiff_t i = 0; i < n; i++) sums[t] += c[i] = drawCode(kind);
    memset(c + n, 0, (size_t)(whole - n));
  }
  return codes;
}

static int32_t dot(const int8_t *a, const int8_t *b, ptrdiff_t n) {
  int32_t sum = 0;
  for (ptrdiff_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

/// weight: RANDOM, or LOWEST and HIGHEST for -1 and 1 everywhere.
static void multiply(ptrdiff_t tokens, ptrdiff_t n, ptrdiff_t rows, Codes kind, Codes weight) {
  begin("multiply tokens=%td K=%td N=%td codes=%s weights=%s", tokens, n, rows, codeNames[kind],
        weight == RANDOM ? "random" : weight == LOWEST ? "-1" : "1");
  const ptrdiff_t columns = padded(n, 32), tilesPerRow = columns / 32;
  const ptrdiff_t codeStride = padded(n, 64) + 64 * below(2), stride = rows + below(3) * 5;
  const int8_t *codes = drawCodes(0, tokens, n, codeStride, kind);
  const int32_t *sums = (const int32_t *)slots[1].end - tokens;
  int8_t *weights = input(2, (size_t)(rows * columns));
  uint32_t *tiles = buffer(3, (size_t)(rows * columns / 4), 0);
  for (ptrdiff_t r = 0; r < rows; r++)
    for (ptrdiff_t c = 0; c < columns; c++) {
      const int code = weight == RANDOM ? (int)below(3) - 1 : weight == LOWEST ? -1 : 1;
      // The layout is that of Tile.swift.
      const ptrdiff_t row = r % 16, column = c % 32, element = column % 16,
                      word = row / 8 * 16 + column / 16 * 8 + row % 8;
      weights[r * columns + c] = (int8_t)code;
      tiles[(r / 16 * tilesPerRow + c / 32) * 32 + word] |= (uint32_t)(code + 2)
                                                            << (8 * (element % 4) + 2 * (element / 4));
    }
  const size_t bytes = (size_t)((tokens - 1) * stride + rows) * 4;
  int32_t *right = output(4, bytes);
  for (ptrdiff_t t = 0; t < tokens; t++)
    for (ptrdiff_t r = 0; r < rows; r++) right[t * stride + r] = dot(weights + r * columns, codes + t * codeStride, n);
  result(right, bytes, INTEGERS);
  for (const TernaryKernels *k; (k = nextSet());) {
    int32_t *out = output(4, bytes);
    k->multiply(tiles, tilesPerRow, rows, codes, codeStride, sums, tokens, out, stride);
    result(out, bytes, INTEGERS);
  }
}

static void products(void) {
  static const int batches[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64};
  static const int every[][2] = {{32, 16}, {64, 48}, {100, 112}, {1000, 32}, {3200, 32}};
  for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
    for (int s = 0; s < (quick ? 4 : 5); s++) multiply(batches[b], every[s][0], every[s][1], RANDOM, RANDOM);
  static const int some[][3] = {{1, 16, 16},    {6, 16, 16},      {2, 33, 32},    {13, 33, 32},   {5, 96, 272},
                                {40, 96, 272},  {1, 8640, 16},    {4, 8640, 16},  {33, 8640, 16}, {1, 10240, 48},
                                {8, 10240, 48}, {14, 10240, 144}, {1, 27648, 16}, {2, 27648, 16}, {9, 27648, 16},
                                {1, 32, 27648}, {3, 32, 27648},   {17, 32, 27648}};
  for (size_t s = 0; s < (quick ? 8 : sizeof some / sizeof *some); s++)
    multiply(some[s][0], some[s][1], some[s][2], RANDOM, RANDOM);
  // Extreme values, up to the widest matrix that loaders accept.
  static const int wide[][2] = {{2, 64}, {3, 3200}, {9, 65536}, {1, 1 << 20}, {8, 1 << 20}};
  for (int s = 0; s < (quick ? 2 : 5); s++)
    for (Codes kind = LOWEST; kind <= HIGHEST; kind++)
      for (Codes weight = LOWEST; weight <= HIGHEST; weight++) multiply(wide[s][0], wide[s][1], 16, kind, weight);
}

/// row: RANDOM within ±127, or LOWEST and HIGHEST for -127 and 127 everywhere.
static void panelProducts(ptrdiff_t vectors, ptrdiff_t n, ptrdiff_t count, Codes kind, Codes row) {
  begin("panelProducts vectors=%td K=%td rows=%td codes=%s rows=%s", vectors, n, count, codeNames[kind],
        row == RANDOM ? "random" : row == LOWEST ? "-127" : "127");
  const ptrdiff_t width = padded(n, 64), codeStride = width + 64 * below(2), stride = count + below(3) * 5;
  const int8_t *codes = drawCodes(0, vectors, n, codeStride, kind);
  const int32_t *sums = (const int32_t *)slots[1].end - vectors;
  int8_t *rows = buffer(2, (size_t)(count * width), 0), *panels = buffer(3, (size_t)(count * width), 0);
  for (ptrdiff_t r = 0; r < count; r++)
    for (ptrdiff_t i = 0; i < n; i++) {
      const int8_t code = drawCode(row);
      panels[r / 16 * 16 * width + i / 4 * 64 + r % 16 * 4 + i % 4] = rows[r * width + i] = code == -128 ? -127 : code;
    }
  const size_t bytes = (size_t)((vectors - 1) * stride + count) * 4;
  int32_t *right = output(4, bytes);
  for (ptrdiff_t t = 0; t < vectors; t++)
    for (ptrdiff_t r = 0; r < count; r++) right[t * stride + r] = dot(rows + r * width, codes + t * codeStride, n);
  result(right, bytes, INTEGERS);
  for (const TernaryKernels *k; (k = nextSet());) {
    int32_t *out = output(4, bytes);
    k->panelProducts(panels, width, count, codes, codeStride, sums, vectors, out, stride);
    result(out, bytes, INTEGERS);
  }
}

static void allPanelProducts(void) {
  static const int widths[] = {1, 64, 100, 192, 1000, 3200, 10240};
  static const int vectors[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 33, 64};
  for (int w = 0; w < (quick ? 5 : 7); w++)
    for (size_t v = 0; v < sizeof vectors / sizeof *vectors; v++)
      panelProducts(vectors[v], widths[w], 16 * (1 + below(3)), RANDOM, RANDOM);
  for (Codes kind = LOWEST; kind <= HIGHEST; kind++)
    for (Codes row = LOWEST; row <= HIGHEST; row++) {
      panelProducts(3, 3200, 16, kind, row);
      if (!quick) panelProducts(2, 65536, 16, kind, row);
    }
}

// Norms and the quantiser.

/// Returns Σ a·b in the lane order of the model's rows: 256 chains of fmas, combined by halving.
static float sum256(const float *a, const float *b, ptrdiff_t n) {
  float lanes[256] = {0};
  for (ptrdiff_t i = 0; i < n; i++) lanes[i % 256] = fmaf(a[i], b[i], lanes[i % 256]);
  for (int half = 128; half > 0; half /= 2)
    for (int l = 0; l < half; l++) lanes[l] += lanes[l + half];
  return lanes[0];
}

static void scalarNorm(const float *x, const float *weight, float epsilon, ptrdiff_t n, float *out) {
  const float r = 1 / sqrtf(sum256(x, x, n) / (float)n + epsilon);
  for (ptrdiff_t i = 0; i < n; i++) {
    const float scaled = x[i] * r;
    out[i] = scaled * weight[i];
  }
}

static float scalarQuantize(const float *x, ptrdiff_t n, int8_t *codes, int32_t *sum) {
  float top = 1e-5f;
  for (ptrdiff_t i = 0; i < n; i++)
    if (fabsf(x[i]) > top) top = fabsf(x[i]);
  const float scale = 127 / top;
  *sum = 0;
  memset(codes, 0, (size_t)padded(n, 64));
  for (ptrdiff_t i = 0; i < n; i++) {
    const float q = nearbyintf(x[i] * scale);
    *sum += codes[i] = (int8_t)(q > 127 ? 127 : q >= -128 ? q : -128);
  }
  return scale;
}

static void norms(void) {
  static const int sizes[] = {1, 15, 16, 17, 63, 64, 65, 100, 255, 256, 257, 1000, 2560, 3200, 8640, 10240, 27648};
  for (int s = 0; s < (quick ? 12 : 17); s++)
    for (Floats kind = 0; kind < FLOAT_KINDS; kind++) {
      const ptrdiff_t n = sizes[s];
      const size_t bytes = (size_t)n * 4;
      begin("normalize n=%td x=%s", n, floatNames[kind]);
      float *x = input(0, bytes), *weight = input(1, bytes);
      drawFloats(x, n, kind);
      drawFloats(weight, n, kind == WIDE ? WIDE : ORDINARY);
      float *right = output(2, bytes);
      scalarNorm(x, weight, 1e-5f, n, right);
      result(right, bytes, FLOATS);
      for (const TernaryKernels *k; (k = nextSet());) {
        float *out = output(2, bytes);
        k->normalize(x, weight, 1e-5f, n, out);
        result(out, bytes, FLOATS);
      }
      for (int weighted = 0; weighted < 2; weighted++) {
        begin("normalizeAndQuantize n=%td x=%s%s", n, floatNames[kind], weighted ? " weighted" : "");
        drawFloats(x, n, kind);
        if (kind == HALVES) x[below(n)] = 127;  // makes the scale 1 and every other code a tie
        drawFloats(weight, n, ORDINARY);
        int8_t *codes = output(2, (size_t)padded(n, 64));
        int32_t *sum = output(3, 4);
        float *normed = input(4, bytes), *scale = output(5, 4);
        if (weighted) scalarNorm(x, weight, 1e-6f, n, normed);
        *scale = scalarQuantize(weighted ? normed : x, n, codes, sum);
        result(codes, (size_t)padded(n, 64), INTEGERS);
        result(sum, 4, INTEGERS);
        result(scale, 4, FLOATS);
        for (const TernaryKernels *k; (k = nextSet());) {
          codes = output(2, (size_t)padded(n, 64));
          sum = output(3, 4);
          scale = output(5, 4);
          *scale = k->normalizeAndQuantize(x, weighted ? weight : NULL, 1e-6f, n, input(4, bytes), codes, sum);
          result(codes, (size_t)padded(n, 64), INTEGERS);
          result(sum, 4, INTEGERS);
          result(scale, 4, FLOATS);
        }
      }
    }
}

// Kernels that process the results of a product.

static void drawDots(int32_t *dots, ptrdiff_t n, bool extreme) {
  for (ptrdiff_t i = 0; i < n; i++) dots[i] = extreme ? (int32_t)(uint32_t)draw() : (int32_t)below(200001) - 100000;
}

static void elements(void) {
  static const int sizes[] = {1, 15, 16, 17, 100, 1000, 3200, 10240};
  for (int s = 0; s < (quick ? 6 : 8); s++)
    for (int extreme = 0; extreme < 2; extreme++) {
      const ptrdiff_t n = sizes[s];
      const size_t bytes = (size_t)n * 4;
      const char *const name = extreme ? "any" : "small";
      begin("dequantize n=%td dots=%s", n, name);
      int32_t *dots = input(0, bytes), *up = input(1, bytes);
      float *x = input(2, bytes);
      drawDots(dots, n, extreme);
      float factor = drawFloat(ORDINARY) / 1000;
      for (const TernaryKernels *k; (k = nextSet());) {
        float *out = output(3, bytes);
        k->dequantize(dots, factor, n, out);
        result(out, bytes, FINITE);
      }
      begin("dequantizeAndAdd n=%td dots=%s", n, name);
      drawDots(dots, n, extreme);
      drawFloats(x, n, ORDINARY);
      factor = drawFloat(ORDINARY) / 1000;
      for (const TernaryKernels *k; (k = nextSet());) {
        float *out = output(3, bytes);
        memcpy(out, x, bytes);
        k->dequantizeAndAdd(dots, factor, n, out);
        result(out, bytes, FINITE);
      }
      begin("addScaled n=%td", n);
      drawFloats(x, n, ORDINARY);
      float *y = input(1, bytes);
      drawFloats(y, n, ORDINARY);
      factor = drawFloat(ORDINARY);
      for (const TernaryKernels *k; (k = nextSet());) {
        float *out = output(3, bytes);
        memcpy(out, x, bytes);
        k->addScaled(y, factor, n, out);
        result(out, bytes, FINITE);
      }
      up = input(1, bytes);
      for (int activation = 0; activation < 3; activation++) {
        begin("gate n=%td dots=%s activation=%d", n, name, activation);
        drawDots(dots, n, extreme);
        drawDots(up, n, extreme);
        const float gateFactor = drawFloat(ORDINARY) / 2000, upFactor = drawFloat(ORDINARY) / 2000;
        for (const TernaryKernels *k; (k = nextSet());) {
          float *out = output(3, bytes);
          k->gate(dots, gateFactor, up, upFactor, activation, n, out);
          result(out, bytes, FINITE);
        }
      }
    }
}

// Attention.

static void rotations(void) {
  static const int shapes[][2] = {{1, 1}, {3, 7}, {20, 32}, {5, 40}, {4, 50}, {32, 64}, {8, 128}};
  for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
    const ptrdiff_t heads = shapes[s][0], pairs = shapes[s][1];
    const size_t bytes = (size_t)(heads * pairs) * 8;
    begin("rotate heads=%td pairs=%td", heads, pairs);
    float *x = input(0, bytes), *cosines = input(1, (size_t)pairs * 4), *sines = input(2, (size_t)pairs * 4);
    drawFloats(x, heads * pairs * 2, ORDINARY);
    drawFloats(cosines, pairs, ORDINARY);
    drawFloats(sines, pairs, ORDINARY);
    for (const TernaryKernels *k; (k = nextSet());) {
      float *out = output(3, bytes);
      memcpy(out, x, bytes);
      k->rotate(out, heads, pairs, cosines, sines);
      result(out, bytes, FINITE);
    }
  }
}

static void attend(ptrdiff_t group, ptrdiff_t size, ptrdiff_t count, float scale) {
  begin("attend group=%td size=%td positions=%td scale=%g", group, size, count, (double)scale);
  const ptrdiff_t chunks = padded(count, 64) / 64, wide = padded(size, 32), partialBytes = CTERNARY_PARTIAL(wide) * 4;
  const size_t bytes = (size_t)(group * size) * 4;
  float *queries = input(0, bytes);
  drawFloats(queries, group * size, ORDINARY);
  // Slots after the last position, and values after a head's end, are not numbers.
  uint16_t *keys = input(1, (size_t)(chunks * 64 * size) * 2), *values = input(2, (size_t)(chunks * 64 * wide) * 2);
  const uint16_t **keyChunks = input(3, (size_t)chunks * sizeof *keyChunks),
                 **valueChunks = input(4, (size_t)chunks * sizeof *valueChunks);
  for (ptrdiff_t c = 0; c < chunks; c++) {
    // Pages may be anywhere in memory.
    keyChunks[c] = keys + (chunks - 1 - c) * 64 * size;
    valueChunks[c] = values + (c + 1) % chunks * 64 * wide;
  }
  for (ptrdiff_t p = 0; p < count; p++)
    for (ptrdiff_t i = 0; i < size; i++) {
      ((uint16_t *)keyChunks[p / 64])[p % 64 / 16 * size * 16 + i * 16 + p % 16] = drawHalf(ORDINARY);
      ((uint16_t *)valueChunks[p / 64])[p % 64 * wide + i] = drawHalf(ORDINARY);
    }
  const ptrdiff_t stride = CTERNARY_PARTIAL(wide) + below(3) * 5;
  const ptrdiff_t end = count < 64 ? count : 64, first = below(end);
  for (const TernaryKernels *k; (k = nextSet());) {
    // Chunk by chunk.
    float *out = output(5, bytes), *running = input(6, (size_t)partialBytes), *partial = input(9, (size_t)partialBytes);
    for (ptrdiff_t c = 0; c < chunks; c++) {
      const ptrdiff_t here = count - 64 * c < 64 ? count - 64 * c : 64;
      k->attendChunk(queries, group, size, keyChunks[c], valueChunks[c], keyChunks[(c + 1) % chunks], here, scale,
                     c == 0 ? running : partial);
      if (c > 0) k->mergeChunk(running, partial, group, size);
    }
    k->combine(running, 0, 1, 0, group, size, out);
    result(out, bytes, FINITE);
    watch(running);
    watch(partial);
    // The same chunks on their own, last one first.
    float *combined = output(7, bytes),
          *partials = input(8, (size_t)((chunks - 1) * stride + CTERNARY_PARTIAL(wide)) * 4);
    for (ptrdiff_t c = chunks - 1; c >= 0; c--) {
      const ptrdiff_t here = count - 64 * c < 64 ? count - 64 * c : 64;
      k->attendChunk(queries, group, size, keyChunks[c], valueChunks[c], keyChunks[c], here, scale,
                     partials + c * stride);
    }
    for (ptrdiff_t g = group - 1; g >= 0; g--) k->combine(partials, stride, chunks, g, 1, size, combined + g * size);
    watch(partials);
    watch(combined);
    if (memcmp(combined, out, bytes) != 0) fail("chunks that are combined differ from chunks that are merged");
    // A window that starts within the first chunk; one that starts at its first position is the chunk.
    float *window = input(10, (size_t)partialBytes), *seen = output(11, bytes), *whole = output(5, bytes);
    k->attendWindow(queries, group, size, keyChunks[0], valueChunks[0], keyChunks[0], first, end, scale, window);
    k->combine(window, 0, 1, 0, group, size, seen);
    result(seen, bytes, FINITE);
    k->attendWindow(queries, group, size, keyChunks[0], valueChunks[0], keyChunks[0], 0, end, scale, window);
    k->combine(window, 0, 1, 0, group, size, seen);
    k->attendChunk(queries, group, size, keyChunks[0], valueChunks[0], keyChunks[0], end, scale, partial);
    k->combine(partial, 0, 1, 0, group, size, whole);
    if (memcmp(seen, whole, bytes) != 0) fail("a window of a whole chunk differs from the chunk");
    watch(window);
  }
}

static void attention(void) {
  static const int sizes[] = {64, 80, 100, 128, 256}, counts[] = {1, 63, 64, 65, 200, 700};
  for (int s = 0; s < (quick ? 3 : 5); s++)
    for (int c = 0; c < (quick ? 4 : 6); c++)
      for (int group = 1; group <= CTERNARY_MAX_GROUP; group++) attend(group, sizes[s], counts[c], 0.0625f);
  // Scores so far apart that most weights are 0.
  for (int group = 1; group <= CTERNARY_MAX_GROUP; group += 3) attend(group, 64, 300, 30);
}

/// The nearest bfloat16, ties to even; a NaN stays a NaN.
static uint16_t toHalf(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return (uint16_t)(isnan(x) ? bits >> 16 | 0x40 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static void storeKeyValue(ptrdiff_t size, Floats kind) {
  begin("storeKeyValue size=%td x=%s", size, floatNames[kind]);
  const size_t bytes = (size_t)size * 4, keyBytes = (size_t)(16 * (size - 1) + 1) * 2;
  float *key = input(0, bytes), *value = input(1, bytes);
  drawFloats(key, size, kind);
  drawFloats(value, size, kind);
  uint16_t *rightKeys = output(2, keyBytes), *rightValues = output(3, bytes / 2);
  memset(rightKeys, 0, keyBytes);
  for (ptrdiff_t i = 0; i < size; i++) {
    rightKeys[16 * i] = toHalf(key[i]);
    rightValues[i] = toHalf(value[i]);
  }
  result(rightKeys, keyBytes, INTEGERS);
  result(rightValues, bytes / 2, INTEGERS);
  for (const TernaryKernels *k; (k = nextSet());) {
    uint16_t *keys = output(2, keyBytes), *values = output(3, bytes / 2);
    memset(keys, 0, keyBytes);
    k->storeKeyValue(key, value, size, keys, values);
    result(keys, keyBytes, INTEGERS);
    result(values, bytes / 2, INTEGERS);
  }
}

static void stores(void) {
  static const int sizes[] = {1, 16, 64, 80, 100, 128, 256};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (Floats kind = 0; kind < FLOAT_KINDS; kind++) storeKeyValue(sizes[s], kind);
}

// The LM head.

static void head(ptrdiff_t columns, ptrdiff_t rows, ptrdiff_t tokens, Floats kind) {
  begin("head columns=%td rows=%td tokens=%td x=%s", columns, rows, tokens, floatNames[kind]);
  const ptrdiff_t xStride = columns + below(3) * 3, stride = rows + below(3) * 5;
  uint16_t *matrix = input(0, (size_t)(rows * columns) * 2);
  float *x = input(1, (size_t)((tokens - 1) * xStride + columns) * 4), *row = input(2, (size_t)columns * 4);
  for (ptrdiff_t i = 0; i < rows * columns; i++) matrix[i] = drawHalf(ORDINARY);
  for (ptrdiff_t t = 0; t < tokens; t++) drawFloats(x + t * xStride, columns, kind);
  const size_t bytes = (size_t)((tokens - 1) * stride + rows) * 4;
  float *right = output(3, bytes);
  for (ptrdiff_t r = 0; r < rows; r++) {
    for (ptrdiff_t i = 0; i < columns; i++) row[i] = fromBits((uint32_t)matrix[r * columns + i] << 16);
    for (ptrdiff_t t = 0; t < tokens; t++) right[t * stride + r] = sum256(row, x + t * xStride, columns);
  }
  result(right, bytes, FLOATS);
  for (const TernaryKernels *k; (k = nextSet());) {
    float *out = output(3, bytes);
    k->head(matrix, columns, rows, matrix, x, xStride, tokens, out, stride);
    result(out, bytes, FLOATS);
  }
}

static void heads(void) {
  static const int widths[] = {16, 100, 255, 256, 257, 1000, 2560, 3200};
  static const int shapes[][2] = {{1, 1}, {16, 1}, {3, 2}, {17, 3}, {5, 4}, {2, 5}, {4, 8}, {1, 9},
                                 {2, 33}, {35, 12}, {16, 31}};
  for (int w = 0; w < (quick ? 6 : 8); w++)
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) head(widths[w], shapes[s][0], shapes[s][1], ORDINARY);
  for (Floats kind = WIDE; kind < FLOAT_KINDS; kind++) head(1000, 3, 3, kind);
}

// The sampler's weights, with NaNs and infinities among the logits.

static void tokenWeights(ptrdiff_t n) {
  begin("tokenWeights n=%td", n);
  float *logits = input(0, (size_t)n * 4), largest = -40;
  for (ptrdiff_t i = 0; i < n; i++) {
    logits[i] = (float)below(400000) * 1e-4f - 30;
    if (logits[i] > largest) largest = logits[i];
  }
  for (ptrdiff_t i = 0; i < n; i += 7)
    if (logits[i] < largest) logits[i] = i % 2 ? NAN : -INFINITY;
  const size_t bytes = (size_t)n * 8;
  for (const TernaryKernels *k; (k = nextSet());) {
    uint64_t *weights = output(1, bytes), *sums = output(2, 16), right = 0;
    sums[0] = k->tokenWeights(logits, n, largest, weights);
    sums[1] = k->tokenWeights(logits, n, largest, NULL);
    for (ptrdiff_t i = 0; i < n; i++) right += weights[i];
    if (sums[0] != right || sums[1] != right) fail("the sums are not those of the weights");
    result(weights, bytes, INTEGERS);
    result(sums, 16, INTEGERS);
  }
}

// Indices of values, with NaNs and infinities among them.
static void indicesFrom(ptrdiff_t n) {
  begin("indicesFrom n=%td", n);
  float *values = input(0, (size_t)n * 4);
  for (ptrdiff_t i = 0; i < n; i++) values[i] = (float)below(1000) * 0.25f - 100;
  for (ptrdiff_t i = 0; i < n; i += 9) values[i] = i % 2 ? NAN : i % 4 ? INFINITY : -INFINITY;
  const float limits[] = {-INFINITY, -60, 100, 149, INFINITY, NAN};
  const size_t bytes = (size_t)(n + 15) / 16 * 64;
  for (const TernaryKernels *k; (k = nextSet());) {
    int32_t *indices = output(1, bytes);
    for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
      const ptrdiff_t count = k->indicesFrom(values, n, limits[l], indices);
      ptrdiff_t right = 0;
      for (ptrdiff_t i = 0; i < n; i++)
        if (values[i] >= limits[l] && (right >= count || indices[right++] != i)) fail("an index is wrong");
      if (count != right) fail("%td indices, not %td", count, right);
    }
  }
}

static void allTokenWeights(void) {
  static const int sizes[] = {1, 15, 16, 17, 300, 4096, 128256};
  for (int s = 0; s < (quick ? 5 : 7); s++) tokenWeights(sizes[s]), indicesFrom(sizes[s]);
}

/// Checks the screened head: every set gives the same results, and the bounds hold.
static void screen(ptrdiff_t n, ptrdiff_t count, Floats kind) {
  const ptrdiff_t stride = padded(n, 64);
  const size_t width = (size_t)stride, each = (size_t)count * 4;
  uint16_t *matrix = input(0, (size_t)(count * n) * 2);
  float *x = input(1, (size_t)n * 4), *steps = input(2, each), *norms = input(3, each), *errors = input(4, each);
  int8_t *codes = input(5, (size_t)count * width);
  begin("screenRow n=%td rows=%td x=%s", n, count, floatNames[kind]);
  // Scale each row as a whole, because a row's error is relative to its largest element.
  for (ptrdiff_t r = 0; r < count; r++) {
    const float size = drawFloat(ORDINARY);
    for (ptrdiff_t i = 0; i < n; i++) {
      const float v = size * fromBits((uint32_t)drawHalf(kind == NOT_FINITE ? ORDINARY : kind) << 16);
      uint32_t bits;
      memcpy(&bits, &v, 4);
      matrix[r * n + i] = (uint16_t)(bits >> 16);
    }
  }
  for (const TernaryKernels *k; (k = nextSet());) {
    int8_t *out = output(6, (size_t)count * width);
    CTernaryScreenNorms *known = output(7, (size_t)count * sizeof *known);
    for (ptrdiff_t r = 0; r < count; r++) {
      known[r] = k->screenRow(matrix + r * n, n, stride, out + r * stride);
      steps[r] = known[r].step;
      norms[r] = known[r].norm;
      errors[r] = known[r].error;
    }
    memcpy(codes, out, (size_t)count * width);
    result(out, (size_t)count * width, INTEGERS);
    result(known, (size_t)count * sizeof *known, FLOATS);
  }
  for (ptrdiff_t i = 0; i < count * stride; i++)
    if (codes[i] == -128) fail("a row has the code -128");

  begin("screenToken n=%td x=%s", n, floatNames[kind]);
  drawFloats(x, n, kind);
  int8_t *halves = input(8, 2 * width);
  int32_t *sums = input(9, 8);
  CTernaryScreenNorms token = {0};
  for (const TernaryKernels *k; (k = nextSet());) {
    int8_t *low = output(6, width), *high = output(7, width);
    int32_t *two = output(10, 8);
    CTernaryScreenNorms *known = output(11, sizeof *known);
    token = *known = k->screenToken(x, n, stride, high, low, two);
    memcpy(halves, high, width);
    memcpy(halves + width, low, width);
    memcpy(sums, two, 8);
    result(high, width, INTEGERS);
    result(low, width, INTEGERS);
    result(two, 8, INTEGERS);
    result(known, sizeof *known, FLOATS);
  }
  for (int h = 0; h < 2; h++) {
    int32_t sum = 0;
    for (ptrdiff_t i = 0; i < stride; i++) sum += halves[h * stride + i];
    if (sum != sums[h]) fail("the sum of half %d is %d; expected %d", h, sums[h], sum);
  }

  begin("screenBounds n=%td rows=%td x=%s", n, count, floatNames[kind]);
  int32_t *dots = input(10, 2 * each);
  float *logits = input(11, each);
  for (ptrdiff_t r = 0; r < count; r++)
    for (int h = 0; h < 2; h++) dots[h * count + r] = dot(codes + r * stride, halves + h * stride, stride);
  sets[0]->head(matrix, n, count, matrix, x, n, 1, logits, count);
  for (const TernaryKernels *k; (k = nextSet());) {
    float *upper = output(6, each), *floor = output(7, 4), largest = -INFINITY;
    *floor = k->screenBounds(steps, norms, errors, count, token, n, dots, dots + count, upper);
    for (ptrdiff_t r = 0; r < count; r++) {
      if (logits[r] > upper[r])
        fail("row %td has the logit %a; expected at most %a", r, (double)logits[r], (double)upper[r]);
      if (logits[r] > largest) largest = logits[r];
    }
    if (*floor > largest) fail("the largest logit is %a; expected at least %a", (double)largest, (double)*floor);
    result(upper, each, FLOATS);
    result(floor, 4, FLOATS);
  }

  begin("screenTails rows=%td x=%s", count, floatNames[kind]);
  float *bounds = input(12, each);
  for (ptrdiff_t r = 0; r < count; r++) bounds[r] = r % 11 == 10 ? NAN : (float)below(4000) * 0.01f - 30;
  const float cuts[CTERNARY_CUTS] = {9.5f, 8, 5, 0, -3, -10.25f, -20, -40};
  for (const TernaryKernels *k; (k = nextSet());) {
    int32_t *above = output(6, sizeof cuts);
    float *under = output(7, sizeof cuts);
    k->screenTails(bounds, count, 9, 0.75f, cuts, above, under);
    for (int c = 0; c < CTERNARY_CUTS; c++) {
      int32_t rows = 0;
      double weight = 0;
      for (ptrdiff_t r = 0; r < count; r++) {
        rows += !(bounds[r] < cuts[c]);
        if (bounds[r] < cuts[c]) weight += exp(((double)bounds[r] - 9) * 0.75);
      }
      if (above[c] != rows) fail("%d rows above cut %d; expected %d", above[c], c, rows);
      if (fabs((double)under[c] - weight) > weight * 0x1p-10)
        fail("the rows below cut %d weigh %g; expected %g", c, (double)under[c], weight);
    }
    result(above, sizeof cuts, INTEGERS);
    result(under, sizeof cuts, FLOATS);
  }
}

static void screens(void) {
  static const int widths[] = {1, 16, 63, 64, 100, 256, 1000, 2560, 3200};
  for (int w = 0; w < (quick ? 7 : 9); w++)
    for (Floats kind = 0; kind < FLOAT_KINDS; kind++) screen(widths[w], 16 + 32 * (w % 2), kind);
}

static _Noreturn void usage(const char *problem) {
  fprintf(stderr, "%s\nusage: check [--seed N] [--quick] [--set NAME]\n", problem);
  exit(64);
}

#if defined(__x86_64__)
// Variants of a set for other processors than this one, which can run them as well.
extern const TernaryKernels ternary_kernels_avx512, ternary_kernels_avx512_zen, ternary_kernels_avx512_zen4;
static const TernaryKernels *const variants[] = {
    &ternary_kernels_avx512, &ternary_kernels_avx512_zen, &ternary_kernels_avx512_zen4, NULL};
#else
static const TernaryKernels *const variants[] = {NULL};
#endif

int main(int count, char **arguments) {
  const char *only = getenv("BITNET_INSTRUCTION_SET");
  for (int i = 1; i < count; i++) {
    char *end = "";
    if (!strcmp(arguments[i], "--quick")) quick = true;
    else if (!strcmp(arguments[i], "--seed") && i + 1 < count) seed = strtoull(arguments[++i], &end, 10);
    else if (!strcmp(arguments[i], "--set") && i + 1 < count) only = arguments[++i];
    else usage("an argument is unknown");
    if (*end) usage("--seed takes a number");
  }
  const TernaryKernels *const *known = ternary_kernels_available();
  for (int i = 0; known[i]; i++)
    if (!strcmp(known[i]->name, "portable")) sets[setCount++] = known[i];
  bool found = !only || !strcmp(only, "portable");
  for (int i = 0; known[i] && setCount < MAX_SETS; i++)
    if (known[i] != sets[0] && (!only || !strcmp(known[i]->name, only))) {
      sets[setCount++] = known[i];
      found = true;
      for (int j = 0; variants[j] && setCount < MAX_SETS; j++)
        if (variants[j] != known[i] && !strcmp(variants[j]->name, known[i]->name)) sets[setCount++] = variants[j];
    }
  if (!found) usage("this machine has no such instruction set");

  const int signals[] = {SIGSEGV, SIGBUS, SIGILL};
  for (int i = 0; i < 3; i++) signal(signals[i], fault);
  setvbuf(stdout, NULL, _IOLBF, 0);
  products();
  allPanelProducts();
  norms();
  elements();
  rotations();
  stores();
  attention();
  heads();
  allTokenWeights();
  screens();
  printf("all %llu: %016llx\n", (unsigned long long)cases, (unsigned long long)total);
  fprintf(stderr, "equal:");
  for (int i = 0; i < setCount; i++) fprintf(stderr, " %s", sets[i]->name);
  fprintf(stderr, "\n");
  return 0;
}
