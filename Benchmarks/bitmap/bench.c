// Compares one-token products of bitmap storage with the engine's tile kernel and with plain reads of the same memory.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "CTernary.h"
#include "bitmap.h"

// The engine's kernels for this processor.
#define TILES (*ternary_kernels_available()[0])

enum {
  side = 2560,       // columns of the timed matrices, and rows of the large one
  copies = 318,      // 318 · 2560² weights are the 2.08 G that a token of BitNet b1.58 2B-4T reads
  smallRows = 512,   // of the matrix that stays in L2
  smallPasses = 200,
  mostThreads = 64,
  mostTasks = 32,
  mostRounds = 1000,
};

static const double zeros = 0.42, tokenWeights = (double)copies * side * side;

// Compares every kernel with plain code on random shapes.
static void check(int rounds) {
  for (int round = 0; round < rounds; round++) {
    const int rows = 16 * (1 + (int)(random32() % 8)), columns = 64 * (1 + (int)(random32() % (round % 8 ? 40 : 300)));
    const Matrix m = randomMatrix(rows, columns, round % 5 == 0 ? 0 : round % 5 == 1 ? 1 : uniform());
    int8_t *codes = calloc(1, (size_t)columns + 64);
    int32_t sum = 0, *expected = calloc((size_t)rows, 4), *out = malloc((size_t)rows * 4);
    for (int i = 0; i < columns; i++) {
      const int any = (int)(random32() >> 24) - 128;
      codes[i] = (int8_t)(round % 4 == 0 ? -128 : round % 4 == 1 ? (any < 0 ? -128 : 127) : any);
      sum += codes[i];
    }
    for (int r = 0; r < rows; r++)
      for (int i = 0; i < columns; i++) expected[r] += m.weights[(size_t)r * columns + i] * codes[i];
    for (int kernel = -1; kernel < 0 || variants[kernel].name; kernel++) {
      const Variant *v = kernel < 0 ? NULL : &variants[kernel];
      Packed p = pack(v, &m, 1);
      memset(out, 0x5A, (size_t)rows * 4);
      if (v) multiplyPacked(v, &p, 0, p.groups, codes, sum, out);
      else TILES.multiply(p.bytes, columns / 32, rows, codes, columns, &sum, 1, out, rows);
      if (memcmp(out, expected, (size_t)rows * 4)) {
        fprintf(stderr, "bench: %s is wrong for %d rows and %d columns in round %d\n", v ? v->name : "tile", rows,
                columns, round);
        exit(1);
      }
      freePacked(&p);
    }
    free(m.weights);
    free(codes);
    free(expected);
    free(out);
  }
}

// One thing to time: a kernel, or a plain read of its storage.
typedef struct {
  const char *name;
  const Variant *variant;  // NULL: tiles
  int read;
  int rows, copies, passes;
  Packed packed;
  double seconds[mostRounds];
} Task;

static Task tasks[mostTasks];
static int taskCount, threadCount, roundCount;
static int8_t codes[side];
static int32_t codeSum;

static void add(const char *name, const Variant *v, int read, const Matrix *m, int count, int passes,
                const Packed *same) {
  tasks[taskCount++] = (Task){name, v, read, m->rows, count, passes, same ? *same : pack(v, m, count), {0}};
}

// Computes a thread's share of a task, whole copies of the matrix.
static void share(const Task *task, int thread) {
  static _Thread_local int32_t out[side];
  const size_t size = task->packed.size / (size_t)task->copies;
  for (int pass = 0; pass < task->passes; pass++)
    for (int copy = task->copies * thread / threadCount; copy < task->copies * (thread + 1) / threadCount; copy++) {
      const Packed *p = &task->packed;
      const uint8_t *start = p->bytes + size * (size_t)copy;
      if (task->read)  // whole lines
        ternary_read((const uint8_t *)((uintptr_t)start / 64 * 64), size / 64 * 64);
      else if (task->variant)
        multiplyPacked(task->variant, p, p->groups * copy, p->groups, codes, codeSum, out);
      else
        TILES.multiply(start, side / 32, task->rows, codes, side, &codeSum, 1, out, task->rows);
    }
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Spins: a thread that sleeps starts its share late.
static void meet(void) {
  static atomic_int arrived, turn;
  const int mine = turn;
  if (atomic_fetch_add(&arrived, 1) == threadCount - 1) {
    arrived = 0;
    turn++;
  } else {
    while (turn == mine) ternary_pause();
  }
}

static void *work(void *argument) {
  const int thread = (int)(intptr_t)argument;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(thread, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
  for (int round = 0; round <= roundCount; round++)
    for (int i = 0; i < taskCount; i++) {
      Task *task = &tasks[i];
      meet();
      const double start = now();
      share(task, thread);
      meet();
      // The first round only warms up.
      if (thread == 0 && round > 0) task->seconds[round - 1] = (now() - start) / task->passes;
    }
  return NULL;
}

static int ascending(const void *a, const void *b) {
  return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double median(const double *values) {
  double sorted[mostRounds];
  memcpy(sorted, values, sizeof *values * (size_t)roundCount);
  qsort(sorted, (size_t)roundCount, sizeof *sorted, ascending);
  return sorted[roundCount / 2];
}

static double weightsPerSecond(const Task *t) {
  return (double)t->rows * side * t->copies / median(t->seconds);
}

static void report(const Task *t, const char *kind, const Task *tile) {
  double ratios[mostRounds];
  for (int i = 0; i < roundCount; i++) ratios[i] = tile->seconds[i] / t->seconds[i];
  const double weights = (double)t->rows * side * t->copies, middle = median(ratios);
  qsort(ratios, (size_t)roundCount, sizeof *ratios, ascending);
  printf("{\"kind\":\"%s\",\"name\":\"%s\",\"bits_per_weight\":%.4f,\"gigabytes_per_second\":%.2f", kind, t->name,
         8 * (double)t->packed.size / weights, 1e-9 * (double)t->packed.size / median(t->seconds));
  if (!t->read)
    printf(",\"gigaweights_per_second\":%.1f,\"milliseconds_per_token\":%.3f,\"tile_time_over_this\":"
           "{\"median\":%.3f,\"minimum\":%.3f,\"maximum\":%.3f}",
           1e-9 * weightsPerSecond(t), 1e3 * tokenWeights / weightsPerSecond(t), middle, ratios[0],
           ratios[roundCount - 1]);
  printf("}\n");
}

// Predicts the time of a token when memory gives `rate` bytes a second: the longer of reading and computing.
static double predicted(const Task *large, const Task *small, double rate) {
  const double reading = (double)large->packed.size / rate, computing = tokenWeights / weightsPerSecond(small);
  return reading > computing ? reading : computing;
}

int main(int argc, char **argv) {
  threadCount = argc > 1 ? atoi(argv[1]) : 2;
  roundCount = argc > 2 ? atoi(argv[2]) : 61;
  const uint64_t start = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
  if (argc > 4 || threadCount < 1 || threadCount > mostThreads || roundCount < 1 || roundCount > mostRounds) {
    fprintf(stderr, "usage: bench [THREADS (1 to %d)] [ROUNDS (1 to %d)] [SEED]\n", mostThreads, mostRounds);
    return 1;
  }
  if (!__builtin_cpu_supports("avx512vnni") || !__builtin_cpu_supports("avx512vbmi") ||
      !__builtin_cpu_supports("avx512vbmi2") || !__builtin_cpu_supports("avx512vpopcntdq") ||
      !__builtin_cpu_supports("bmi2")) {
    fprintf(stderr, "bench: the processor lacks AVX-512 VNNI, VBMI, VBMI2, VPOPCNTDQ or BMI2; the kernels need all\n");
    return 1;
  }
  fprintf(stderr, "seed %llu\n", (unsigned long long)start);
  seed(start);
  check(200);
  printf("{\"kind\":\"run\",\"threads\":%d,\"rounds\":%d,\"seed\":%llu,\"zeros\":%.2f,\"exact\":true}\n", threadCount,
         roundCount, (unsigned long long)start, zeros);

  for (int i = 0; i < side; i++) codeSum += codes[i] = (int8_t)((int)(random32() % 255) - 127);
  const Matrix large = randomMatrix(side, side, zeros), small = randomMatrix(smallRows, side, zeros);
  int first[2];
  for (int inCache = 0; inCache < 2; inCache++) {
    const Matrix *m = inCache ? &small : &large;
    const int count = inCache ? threadCount : copies, passes = inCache ? smallPasses : 1;
    first[inCache] = taskCount;
    add("tile", NULL, 0, m, count, passes, NULL);
    add("read of tile", NULL, 1, m, count, passes, &tasks[first[inCache]].packed);
    for (const Variant *v = variants; v->name; v++) add(v->name, v, 0, m, count, passes, NULL);
    add("read of deposits", &variants[0], 1, m, count, passes, &tasks[first[inCache] + 2].packed);
  }
  pthread_t others[mostThreads];
  for (int i = 1; i < threadCount; i++) pthread_create(&others[i], NULL, work, (void *)(intptr_t)i);
  work(NULL);
  for (int i = 1; i < threadCount; i++) pthread_join(others[i], NULL);

  const int each = first[1];
  for (int i = 0; i < 2 * each; i++) report(&tasks[i], i < each ? "memory" : "l2", &tasks[i < each ? 0 : each]);
  for (int i = 0; i < each; i++)
    if (!tasks[i].read)
      for (double rate = 30e9; rate < 60e9; rate += 20e9)
        printf("{\"kind\":\"prediction\",\"name\":\"%s\",\"gigabytes_per_second\":%.0f,\"milliseconds_per_token\":%.3f"
               ",\"tile_time_over_this\":%.3f}\n", tasks[i].name, 1e-9 * rate,
               1e3 * predicted(&tasks[i], &tasks[each + i], rate),
               predicted(&tasks[0], &tasks[each], rate) / predicted(&tasks[i], &tasks[each + i], rate));
  return 0;
}
