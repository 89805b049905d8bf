// What the host and the kernels agree on: the kernels' parameters, the shared memory they need, and where their PTX is.
//
// The kernels include this file too. Addresses in device memory are pointers there and numbers here.
#ifndef CUDA_KERNELS_H
#define CUDA_KERNELS_H

#if defined(__CUDACC_RTC__) || defined(CUDA_ON_CPU)
#define DEVICE(type) type *
#else
#include <stddef.h>
#include <stdint.h>
#define DEVICE(type) uint64_t
#endif

/// One of the stacked matrices: its rows in the stack (from a multiple of 16 on), where they go in the output, and what
/// a code of 1 is.
typedef struct Part {
  int firstRow;
  int rows;
  int output;
  float scale;
} Part;

/// Tiles [tileRows][tilesPerRow] of 128 bytes: 16 rows × 32 columns.
typedef struct Matrix {
  DEVICE(const uint4) tiles;
  int tilesPerRow;
  int tileRows;
  int columns;
  int parts;
  Part part[3];
} Matrix;

/// Where a product's results go. out: float or, for exact products, int.
typedef struct Target {
  DEVICE(void) out;
  int stride;  // elements between two tokens
  int isSquaredReLU;
} Target;

/// Shape of the attention and of a page: [layers][keys, values][keyValueHeads][64 positions][padded].
typedef struct Heads {
  int queryHeads;
  int keyValueHeads;
  int size;     // elements of a head: even
  int padded;   // the same rounded up to 8; the rest is zero
  float scale;  // 1 / sqrt(size)
  int unused;
} Heads;

/// Which pages each sequence of a batch has: [slots][capacity] addresses.
typedef struct Pages {
  DEVICE(const uint64) addresses;
  int capacity;
  int unused;
} Pages;

/// What the chunks of a batch leave behind, to be combined by the block that comes last.
typedef struct Partials {
  DEVICE(float) largest;      // [rows][queryHeads][capacity]
  DEVICE(float) total;        // the same
  DEVICE(float) weighted;     // [rows][queryHeads][capacity][padded]
  DEVICE(unsigned) arrivals;  // [rows][keyValueHeads], zero between launches
  int capacity;               // chunks
  int unused;
} Partials;

/// Attention of single tokens: what stays the same over a launch.
typedef struct DecodeAttention {
  Heads heads;
  Pages pages;
  Partials partials;
  DEVICE(const float) qkv;  // [rows][width], before rotation
  DEVICE(const float) cosines;
  DEVICE(const float) sines;
  DEVICE(float) out;  // [rows][outStride]
  int outStride;
  int unused;
} DecodeAttention;

/// Neighbouring tokens of one sequence, at most 64 / group of them (at least one).
typedef struct QueryTile {
  int firstRow;
  int tokens;
  int slot;
  int firstPosition;
} QueryTile;

/// The head's matrix, [vocabulary][hidden] bfloat16, and what comes before it.
typedef struct Head {
  DEVICE(const unsigned short) table;
  DEVICE(const float) norm;  // [hidden]
  float epsilon;
  int hidden;
  int vocabulary;
  int unused;
} Head;

/// The int8 copy of the head's matrix.
typedef struct Screen {
  DEVICE(const uint4) codes;   // [vocabulary][stride] int8
  DEVICE(const float4) rows;   // [vocabulary]: step, |ŵ|, |e|, unused (see screen.cuh)
  int stride;                  // bytes: hidden rounded up to 16
  int unused;
} Screen;

/// How an output's token is chosen; the fields of SamplingParameters.
typedef struct RowSampling {
  float temperature;
  float topP;
  int topK;  // 0 for all
  int unused;
  unsigned long long leastWeight;  // max(1, minP · 2^40 rounded up)
  unsigned long long seed;
} RowSampling;

/// Room for the candidates of each output, in ascending id: [outputs][vocabulary] each.
typedef struct Candidates {
  DEVICE(uint64) keys;
  DEVICE(uint64) weights;
} Candidates;

/// Where a token goes. messages: pinned memory of the host, [messageRounds][outputs], a round in the upper half and the
/// id in the lower.
typedef struct Delivery {
  DEVICE(uint64) messages;
  DEVICE(unsigned) rounds;  // [outputs], counted up
  int messageRounds;
  int outputs;
} Delivery;

/// What differs from layer to layer, in the order q·k·v, attention output, gate·up, down.
typedef struct DecodeLayer {
  Matrix matrices[4];
  DEVICE(const float) norms[4];  // null where there is none
} DecodeLayer;

/// Everything the cooperative decode step needs to know.
typedef struct DecodeModel {
  DEVICE(const DecodeLayer) layers;
  int layerCount;
  float epsilon;
  Matrix shapes[4];       // of the first layer
  long long layerStride;  // bytes from a layer's tiles to those of the next, the same for all matrices
  int splits[4];
  int hidden;
  int unused;
  DEVICE(const unsigned short) embedding;
  Head head;
  DecodeAttention attention;
  DEVICE(float) x;      // [rows][hidden]
  DEVICE(float) qkv;    // [rows][width]
  DEVICE(float) inner;  // [rows][innerStride]
  int innerStride;
  int isSquaredReLU;
  DEVICE(unsigned) barrier;
  /// Pinned memory of the host: StallRecord [stallRecords].
  DEVICE(uint64) stalls;
  /// [hand-overs][blocks][traceMarks] clocks; used by the traced build alone.
  DEVICE(unsigned) trace;
} DecodeModel;

/// What a block leaves behind that gave up waiting for the others, indexed by block.
typedef struct StallRecord {
  unsigned handOver;  // its number in the launch, from 1; 0 for a block that did not give up
  unsigned blocks;    // of the grid
  unsigned ticket;
  unsigned state;
} StallRecord;

/// Bytes of shared memory that blocks need before what depends on the model; the kernels check these numbers when they
/// are compiled.
enum {
  rowScratchBytes = 1088,
  gemvScratchBytes = 2112,
  fewScratchBytes = 8800,
  chunkScratchBytes = 4176,
  shortScratchBytes = 41520,
  stepScratchBytes = 704,
  oneScratchBytes = 3840,
  tileScratchBytes = 84608,
  sampleScratchBytes = 3744,
};

enum {
  /// Columns of the longest row that the quantiser keeps in registers, with its norm in shared memory.
  longestStagedRow = 6912,
  /// Elements, rounded up to 8, of the longest heads that attention_short.cuh takes.
  longestShortHead = 128,
  /// Blocks that can say where they gave up.
  stallRecords = 1024,
  /// Time stamps of a phase (trace.cuh).
  traceMarks = 6,
};

/// Blocks of the products of many tokens (gemm.cu), called by their rows and tokens: bytes of shared memory for each
/// stage, and how many stages they need, two or as many as have room for sums.
enum {
  gemm32x64StageBytes = 36864,
  gemm32x64FewestStages = 2,
  gemm64x64StageBytes = 40960,
  gemm64x64FewestStages = 2,
  gemm128x64StageBytes = 24576,
  gemm128x64FewestStages = 3,
  gemm96x128StageBytes = 38912,
  gemm96x128FewestStages = 3,
  gemm128x128StageBytes = 40960,
  gemm128x128FewestStages = 4,
  gemm256x128StageBytes = 24576,
  gemm256x128FewestStages = 2,
};

#if !defined(__CUDACC_RTC__) && !defined(CUDA_ON_CPU)
/// The PTX of a kernel file, NUL-terminated.
typedef struct KernelImage {
  const char *_Nonnull name;
  const void *_Nonnull ptx;
  /// The terminating NUL included.
  size_t byteCount;
} KernelImage;

/// All images; their number goes to count.
const KernelImage *_Nonnull cuda_kernel_images(size_t *_Nonnull count);
#endif

#endif
