// The interface of host and kernels: the kernels' parameters, the shared memory they need, and their PTX.
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

/// One of the stacked matrices: its rows in the stack (from a multiple of 16 on), their place in the output, and the
/// value of a code of 1.
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

/// The destination of a product. out: float or, for exact products, int.
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
  float scale;  // of scores: mostly 1 / sqrt(size)
  int unused;
} Heads;

/// The pages of each sequence of a batch: [slots][capacity] addresses.
typedef struct Pages {
  DEVICE(const uint64) addresses;
  int capacity;
  int unused;
} Pages;

/// The partial results of a batch's chunks, which the last block to arrive combines.
typedef struct Partials {
  DEVICE(float) largest;      // [rows][queryHeads][capacity]
  DEVICE(float) total;        // the same
  DEVICE(float) weighted;     // [rows][queryHeads][capacity][padded]
  DEVICE(unsigned) arrivals;  // [rows][keyValueHeads], zero between launches
  int capacity;               // chunks
  int unused;
} Partials;

/// Attention of single tokens: the part that is the same for all blocks of a launch.
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

/// Neighbouring tokens of one sequence: for attend_prompt at most 64 / group of them (at least one).
typedef struct QueryTile {
  int firstRow;
  int tokens;
  int slot;
  int firstPosition;
} QueryTile;

/// The head's matrix, [vocabulary][hidden] bfloat16, and the norm before it.
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

/// Which rows of the screened head are computed for an output, and what the others can weigh.
typedef struct ScreenCut {
  /// By attempt: rows whose upper bound is below are left out. Those that the last attempt leaves out cannot matter.
  float thresholds[2];
  /// At least the weight of the rows that the first attempt leaves out, in units of the sampler; 0: they cannot matter.
  unsigned long long unseen;
} ScreenCut;

/// The cuts of a step's outputs. An output whose token the first attempt did not settle has a second one, in kernels
/// that do nothing for the others.
typedef struct ScreenCuts {
  DEVICE(const ScreenCut) cuts;  // [outputs]; null: one attempt, without cuts
  DEVICE(unsigned) retries;      // [outputs]: whether there is a second attempt, zero between steps
  int attempt;                   // 0 or 1
  int unused;
} ScreenCuts;

/// Room for the candidates of each output, in ascending order of their ids: [outputs][vocabulary] each.
typedef struct Candidates {
  DEVICE(uint64) keys;
  DEVICE(uint64) weights;
} Candidates;

/// The destination of chosen tokens. messages: pinned memory of the host, [messageRounds][outputs], a round in the
/// upper half and the id in the lower.
typedef struct Delivery {
  DEVICE(uint64) messages;
  DEVICE(unsigned) rounds;  // [outputs], counted up
  int messageRounds;
  int outputs;
} Delivery;

/// The matrices of a layer, in the order in which a token goes through them.
enum { roleQueryKeyValue, roleAttentionOutput, roleGateUp, roleDown, roleCount };

/// The part of the decode step that differs from layer to layer, by role.
typedef struct DecodeLayer {
  Matrix matrices[roleCount];
  DEVICE(const float) norms[roleCount];  // of the matrix's input; null where there is none
} DecodeLayer;

/// The model as the cooperative decode step sees it.
typedef struct DecodeModel {
  DEVICE(const DecodeLayer) layers;
  int layerCount;
  float epsilon;
  Matrix shapes[roleCount];  // of the first layer
  long long layerStride;     // bytes from a layer's tiles to those of the next, the same for all matrices
  int splits[roleCount];
  /// Where a matrix's weights are in the shared memory of decode_resident, in bytes.
  int regions[roleCount];
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

enum {
  /// Outputs that a block of the head takes together at most, and sequences of the cooperative decode step.
  outputGroup = 8,
  /// Outputs whose logits are kept together, and that screen_many takes in one block.
  screenGroup = 16,
  /// Blocks of a launch of screen_1, screen_4 or screen_many at most.
  mostScreenBlocks = 1024,
  /// Blocks of screen_cuts for an output, and the cuts that it tries.
  cutBlocks = 32,
  triedCuts = 8,
};

/// The sequences of a decode step. One struct in device memory, in which the sampler writes the next step's tokens and
/// positions, so that a step can be recorded once and launched again without the host.
typedef struct DecodeSequences {
  int tokens[outputGroup];     // the step's input
  int positions[outputGroup];  // of those tokens
  int slots[outputGroup];      // the sequences' rows of the page table
  int rows[outputGroup];       // 0, 1, …: an output's row of the batch
  float windows[outputGroup];  // see RescoreParameters
  RowSampling sampling[outputGroup];
} DecodeSequences;

/// The record of a block that gave up waiting for the others, indexed by block.
typedef struct StallRecord {
  unsigned handOver;  // its number in the launch, from 1; 0 for a block that did not give up
  unsigned blocks;    // of the grid
  unsigned ticket;
  unsigned state;
} StallRecord;

/// Bytes of shared memory that blocks need besides those that depend on the model; the kernels check these numbers when
/// they are compiled.
enum {
  rowScratchBytes = 1088,
  gemvScratchBytes = 2112,
  fewScratchBytes = 8800,
  chunkScratchBytes = 4176,
  shortScratchBytes = 41520,
  stepScratchBytes = 704,
  oneScratchBytes = 3840,
  residentScratchBytes = 4928,
  tileScratchBytes = 84608,
  windowScratchBytes = 60032,
  sampleScratchBytes = 3744,
  cutScratchBytes = 8720,
};

enum {
  /// Columns of the longest row that the quantiser keeps in registers, with its norm in shared memory.
  longestStagedRow = 6912,
  /// Elements, rounded up to 8, of the longest heads that attention_short.cuh takes.
  longestShortHead = 128,
  /// The same of attend_prompt.
  longestPromptHead = 128,
  /// Queries of a tile of attend_window, and elements of its slices of a head.
  windowTileQueries = 32,
  windowSlice = 128,
  /// The window of attend_window that holds all positions.
  endlessWindow = 1 << 30,
  /// Blocks that can report where they gave up.
  stallRecords = 1024,
  /// Time stamps of a phase (trace.cuh).
  traceMarks = 6,
};

/// Blocks of the products of many tokens (gemm.cu), named by their rows and tokens: bytes of shared memory for each
/// stage, and the fewest stages: two, or as many as the partial sums need room for.
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

// The parameters of the kernels: one struct for each kernel, or for the kernels of one family.

/// embed_rows
typedef struct EmbedParameters {
  DEVICE(const int) tokens;            // [rows]
  DEVICE(const unsigned short) table;  // [vocabulary][hidden] bfloat16
  DEVICE(float) x;                     // [rows][hidden]
  int hidden;
  float scale;  // of the rows
} EmbedParameters;

/// quantize_rows
typedef struct QuantizeParameters {
  DEVICE(const float) x;     // [rows][xStride]
  DEVICE(const float) norm;  // [columns]; null: none
  DEVICE(signed char) codes; // [rows][codeStride], cleared from columns on
  DEVICE(float) scales;      // [rows]
  DEVICE(int) sums;          // [rows]
  float epsilon;
  int columns;
  int xStride;
  int codeStride;
} QuantizeParameters;

/// quantize_parts
typedef struct QuantizePartsParameters {
  DEVICE(const float) x;             // [rows][xStride]
  DEVICE(const float) norm;          // of all parts' input, [columns]; null: none
  DEVICE(const float) partNorms[3];  // of each part's own input, after it: [columns]; null: none
  DEVICE(signed char) codes;         // [gridDim.y][partRows][codeStride], cleared from columns on
  DEVICE(float) scales;              // [gridDim.y][partRows]
  DEVICE(int) sums;                  // [gridDim.y][partRows]
  float epsilon;
  float partEpsilon;
  int columns;
  int xStride;
  int codeStride;
  int partRows;
} QuantizePartsParameters;

/// normalize_heads
typedef struct NormalizeHeadsParameters {
  Heads heads;
  DEVICE(float) qkv;              // [gridDim.x][width], before rotation
  DEVICE(const float) queryNorm;  // [size]; null: none
  DEVICE(const float) keyNorm;    // [size]; null: none
  float epsilon;
} NormalizeHeadsParameters;

/// add_branch
typedef struct AddBranchParameters {
  DEVICE(float) x;             // [gridDim.x][hidden]
  DEVICE(const float) branch;  // [gridDim.x][hidden]
  DEVICE(const float) norm;    // of the branch, [hidden]; null: none
  float epsilon;
  float scale;  // of the branch after its norm
  int hidden;
} AddBranchParameters;

/// The activations of gate_rows.
enum { activationSquaredReLU, activationSilu, activationGeluTanh };

/// gate_rows
typedef struct GateParameters {
  DEVICE(const float) gateUp;  // [gridDim.x][gate, up][width]
  DEVICE(float) out;           // [gridDim.x][outStride]
  int width;
  int outStride;
  int activation;
} GateParameters;

/// scale_outputs
typedef struct ScaleOutputsParameters {
  DEVICE(const float) x;     // [rows of the batch][hidden], before the final norm
  DEVICE(const int) rows;    // [gridDim.x]: the row of the batch that an output belongs to
  DEVICE(const float) norm;  // [hidden]
  DEVICE(float) out;         // [rows of the batch][hidden]: the outputs' rows alone are written; may be x
  float epsilon;
  float scale;
  int hidden;
} ScaleOutputsParameters;

/// gemv_project, gemv_add, gemv_activate
typedef struct GemvParameters {
  Matrix matrix;
  Target target;
  DEVICE(const float) x;     // [columns]
  DEVICE(const float) norm;  // [columns]; null: none
  float epsilon;
  int split;
} GemvParameters;

/// gemv_exact
typedef struct GemvExactParameters {
  Matrix matrix;
  Target target;
  DEVICE(const signed char) codes;  // [columns rounded up to whole tiles], zero from columns on
  int sum;                          // of the codes
  int split;
} GemvExactParameters;

/// few_project, few_add, few_activate
typedef struct FewParameters {
  Matrix matrix;
  Target target;
  DEVICE(const float) x;     // [tokens][xStride]
  DEVICE(const float) norm;  // [columns]; null: none
  float epsilon;
  int xStride;
  int tokens;
  int split;
} FewParameters;

/// few_exact
typedef struct FewExactParameters {
  Matrix matrix;
  Target target;
  DEVICE(const signed char) codes;  // [tokens][codeStride], zero from columns on
  DEVICE(const int) sums;           // of the codes, [tokens]
  int codeStride;                   // a multiple of 16, at least the columns rounded up to whole tiles
  int tokens;
  int split;
} FewExactParameters;

/// gemmRxT_project, …_add, …_activate, …_exact
typedef struct GemmParameters {
  Matrix matrix;
  Target target;
  DEVICE(const signed char) codes;  // as in FewExactParameters
  DEVICE(const float) scales;       // [tokens]; not used by …_exact
  DEVICE(const int) sums;           // [tokens]
  int codeStride;
  int tokens;
  int stages;
} GemmParameters;

/// rotate_and_append
typedef struct RotateParameters {
  Heads heads;
  Pages pages;
  DEVICE(const int) rows;       // [gridDim.x]: which rows of the batch
  DEVICE(const int) slots;      // by row of the batch
  DEVICE(const int) positions;  // by row of the batch
  DEVICE(float) qkv;            // [rows of the batch][width]
  DEVICE(const float) cosines;  // [positions][size / 2]
  DEVICE(const float) sines;
  int layer;
} RotateParameters;

/// attend_prompt
typedef struct AttendPromptParameters {
  Heads heads;
  Pages pages;
  DEVICE(const QueryTile) tiles;  // [gridDim.y]
  DEVICE(const float) qkv;        // [rows of the batch][width], queries rotated
  DEVICE(float) out;              // [rows of the batch][outStride]
  int layer;
  int outStride;
} AttendPromptParameters;

/// attend_window
typedef struct AttendWindowParameters {
  Heads heads;
  Pages pages;
  DEVICE(const QueryTile) tiles;  // [gridDim.x], at most windowTileQueries / group tokens each (at least one)
  DEVICE(const int) ends;         // of each slot's positions, [slots]; used where isBidirectional
  DEVICE(const float) qkv;        // as in AttendPromptParameters
  DEVICE(float) out;              // [rows of the batch][outStride]
  int layer;
  int outStride;
  int window;           // positions backwards, and forwards where isBidirectional, a token's own included
  int isBidirectional;  // whether a token attends to later ones
} AttendWindowParameters;

/// attend_decode
typedef struct AttendDecodeParameters {
  DecodeAttention attention;
  DEVICE(const int) rows;       // [gridDim.z]: which rows of the batch
  DEVICE(const int) slots;      // by row of the batch
  DEVICE(const int) positions;  // by row of the batch
  int layer;
} AttendDecodeParameters;

/// head_1, head_4, head_8
typedef struct HeadParameters {
  Head head;
  DEVICE(const float) x;    // [rows of the batch][hidden], before the final norm
  DEVICE(const int) rows;   // [outputs]: the row of the batch that an output belongs to
  DEVICE(float) logits;     // [outputs][vocabulary]
  DEVICE(uint64) best;      // [outputs]: raised to the largest logitKey
  int outputs;
} HeadParameters;

/// screen_build
typedef struct ScreenBuildParameters {
  Head head;
  DEVICE(signed char) codes;  // as in Screen
  DEVICE(float4) rows;        // as in Screen
  int stride;                 // as in Screen
} ScreenBuildParameters;

/// screen_1, screen_4
typedef struct ScreenParameters {
  Head head;
  Screen screen;
  DEVICE(const float) x;   // as in HeadParameters
  DEVICE(const int) rows;  // as in HeadParameters
  DEVICE(float) upper;     // [outputs][vocabulary]: the most a logit can be
  DEVICE(uint64) floors;   // [outputs]: raised to the key of the largest lower bound; zero before
  DEVICE(uint64) blockFloors;  // [outputs][mostScreenBlocks]: the same of each block's rows
  int outputs;
} ScreenParameters;

/// screen_tokens
typedef struct ScreenTokensParameters {
  Head head;
  DEVICE(const float) x;      // as in HeadParameters
  DEVICE(const int) rows;     // as in HeadParameters
  DEVICE(float4) facts;       // [outputs]: unit, |x|, |x - x̂|, unused (see screen.cuh)
  DEVICE(signed char) codes;  // [outputs][high, low][stride]
  int stride;                 // as in Screen
} ScreenTokensParameters;

/// screen_many
typedef struct ScreenManyParameters {
  Screen screen;
  DEVICE(const float4) facts;  // as screen_tokens stores them
  DEVICE(const uint4) codes;
  DEVICE(float) upper;    // as in ScreenParameters
  DEVICE(uint64) floors;  // as in ScreenParameters
  DEVICE(uint64) blockFloors;
  int vocabulary;
  int hidden;
  int outputs;
} ScreenManyParameters;

/// screen_cuts
typedef struct ScreenCutsParameters {
  DEVICE(const float) upper;           // as in ScreenParameters
  DEVICE(const uint64) floors;
  DEVICE(const uint64) blockFloors;
  DEVICE(const float) windows;         // as in RescoreParameters
  DEVICE(const RowSampling) sampling;  // [outputs]
  DEVICE(float) below;                 // [outputs][cutBlocks][triedCuts]: what rows below each cut weigh at most, as a
                                       // share of the largest weight
  DEVICE(unsigned) above;              // the same shape: how many rows are not below
  DEVICE(unsigned) arrivals;           // [outputs], zero between launches
  DEVICE(ScreenCut) cuts;              // [outputs]
  int vocabulary;
  int screenBlocks;  // of the launch that made the bounds
} ScreenCutsParameters;

/// screen_rescore
typedef struct RescoreParameters {
  Head head;
  DEVICE(const float) x;        // as in HeadParameters
  DEVICE(const int) rows;       // as in HeadParameters
  DEVICE(const float) windows;  // [outputs]: logits further below the largest cannot matter
  DEVICE(const RowSampling) sampling;  // [outputs]
  ScreenCuts cuts;
  DEVICE(const float) upper;    // [outputs][vocabulary]: the most a logit can be
  DEVICE(float) logits;         // [outputs][vocabulary]
  DEVICE(uint64) floors;        // [outputs]: cleared by the last block
  DEVICE(uint64) best;          // as in HeadParameters
  DEVICE(unsigned) arrivals;    // [outputs], zero between launches
  DEVICE(unsigned) survivors;   // how many rows were computed, added up
} RescoreParameters;

/// A number that is added to a token's logit.
typedef struct Bias {
  int token;
  float value;
} Bias;

/// Changes to an output's logits.
typedef struct OutputAdjustment {
  DEVICE(const unsigned) mask;  // a bit for each token that is allowed, [ceil(vocabulary / 32)]; null: all are
  DEVICE(const Bias) biases;    // [biasCount], each of another token
  DEVICE(const int) penalized;  // [penalizedCount], distinct tokens
  int biasCount;
  int penalizedCount;
  float penalty;  // divides the positive logits of the penalised tokens and multiplies the others
  int isAdjusted;
} OutputAdjustment;

/// adjust_rows
typedef struct AdjustParameters {
  DEVICE(float) logits;                        // [outputs][vocabulary]
  DEVICE(uint64) best;                         // [outputs]: becomes the largest logitKey of the allowed tokens
  DEVICE(const OutputAdjustment) adjustments;  // [outputs]
  DEVICE(const RowSampling) sampling;          // [outputs]
  int vocabulary;
} AdjustParameters;

/// sample_rows
typedef struct SampleParameters {
  DEVICE(const float) logits;          // [outputs][vocabulary]
  DEVICE(const RowSampling) sampling;  // [outputs]
  DEVICE(uint64) best;                 // [outputs]: cleared
  DEVICE(const int) rows;              // [outputs]: each output's row of the batch
  DEVICE(int) tokens;                  // by row of the batch: becomes the chosen token
  DEVICE(int) positions;               // by row of the batch: goes up by one
  Candidates candidates;
  Delivery delivery;
  ScreenCuts cuts;
  int vocabulary;
} SampleParameters;

/// The most tokens whose log probabilities are reported besides the chosen one's.
enum { mostAlternatives = 20 };

/// What log probabilities are computed from.
typedef struct TokenDescription {
  unsigned long long total;                  // the weights of all tokens at temperature 1
  unsigned long long top[mostAlternatives];  // the logitKeys of the most likely, then zeros; a NaN has none
  float logit;                               // of the chosen token
  int unused;
} TokenDescription;

/// describe_rows
typedef struct DescribeParameters {
  DEVICE(const float) logits;              // [outputs][vocabulary], unchanged since the head
  DEVICE(const int) rows;                  // [outputs]: each output's row of the batch
  DEVICE(const int) tokens;                // by row of the batch: the chosen token
  DEVICE(TokenDescription) descriptions;   // [outputs]
  int vocabulary;
  int alternatives;  // at most mostAlternatives; the first is found in any case
} DescribeParameters;

/// decode_one, decode_one_small, decode_resident, decode_few
typedef struct DecodeParameters {
  DecodeModel model;
  DEVICE(const DecodeSequences) sequences;
  // Of decode_few alone:
  DEVICE(float) logits;  // [count][vocabulary]
  DEVICE(uint64) best;   // [count], as in HeadParameters
  int count;             // of the sequences
  int computesHead;      // whether logits and best are computed
} DecodeParameters;

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
