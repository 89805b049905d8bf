#!/usr/bin/env python3
"""Measures the costs that the design of decode.cu depends on: a grid barrier, a hand-over of values in tagged words, a
row that every block reads, the reach of prefetches into the L2 cache, and the rate of a stream by the bytes in flight.

Needs CuPy, which compiles with NVRTC, and a GPU. Prints one JSON line for each measurement as soon as it is complete; a
measurement that fails gives a line with its error. Takes less than 20 s.

usage: gpu_check_probe.py [--source]     --source prints the CUDA code instead, to compile it without a GPU
"""
import json
import sys
import time

# Every wait gives up after LIMIT polls and sets *failed, so that a mistake here does not hang the GPU.
COMMON = r"""
typedef unsigned int u32;
typedef unsigned long long u64;
#define LIMIT (1u << 22)
#define DEVICE __device__ __forceinline__

DEVICE u32 clockNow() { u32 now; asm volatile("mov.u32 %0, %%clock;" : "=r"(now) :: "memory"); return now; }
DEVICE u32 pollAcquire(const u32 *p) {
  u32 v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
DEVICE u32 pollRelaxed(const u32 *p) {
  u32 v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
DEVICE u32 add(u32 *p, u32 v) {
  u32 old;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(v) : "memory");
  return old;
}
DEVICE u32 addRelease(u32 *p, u32 v) {
  u32 old;
  asm volatile("atom.add.release.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(v) : "memory");
  return old;
}

// The highest bit of *state flips when the last block of a round arrives.
DEVICE void meet(u32 *state, bool relaxed, u32 *failed) {
  __syncthreads();
  if (threadIdx.x == 0) {
    const u32 one = blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1u;
    const u32 ticket = relaxed ? addRelease(state, one) : add(state, one);
    for (u32 polls = 0; ((ticket ^ (relaxed ? pollRelaxed(state) : pollAcquire(state))) >> 31) == 0; polls++)
      if (polls > LIMIT || (polls > 1024 && pollRelaxed(failed))) { *failed = 1; break; }
    if (relaxed) asm volatile("fence.acq_rel.gpu;" ::: "memory");
  }
  __syncthreads();
}
"""

BARRIERS = COMMON + r"""
extern "C" __global__ void barriers(u32 *state, float *data, int rounds, int relaxed, u32 *failed) {
  for (int round = 0; round < rounds; round++) {
    // A store to publish, as in a phase of the real kernel.
    data[blockIdx.x * blockDim.x + threadIdx.x] = round;
    meet(state, relaxed, failed);
  }
}

// The clocks that the slowest block needs to read a row that all blocks have just written.
extern "C" __global__ void rows(u32 *state, float *row, int n, int rounds, u32 *worst, float *sink, u32 *failed) {
  float sum = 0;
  for (int round = 0; round < rounds; round++) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) row[i] = round;
    meet(state, false, failed);
    const u32 start = clockNow();
    float value[28];
#pragma unroll
    for (int k = 0; k < 28; k++) value[k] = threadIdx.x + k * blockDim.x < n ? row[threadIdx.x + k * blockDim.x] : 0;
#pragma unroll
    for (int k = 0; k < 28; k++) sum += value[k];
    if (sum == 12345.5f) *sink = sum;
    __syncthreads();
    if (threadIdx.x == 0 && round > 2) atomicMax(worst, clockNow() - start);
    // No block may write the next row before all blocks have read this one.
    meet(state, false, failed);
  }
}
"""

TAGGED = COMMON + r"""
struct Pair { u64 low, high; };
// Loads only if `wanted`, without a branch, so that many loads are in flight together.
DEVICE void load64(u64 &v, const u64 *p, bool wanted) {
  asm volatile("{\n.reg .pred q;\nsetp.ne.u32 q, %2, 0;\n@q ld.relaxed.gpu.global.b64 %0, [%1];\n}"
               : "+l"(v) : "l"(p), "r"((u32)wanted) : "memory");
}
DEVICE void store64(u64 *p, u64 v) { asm volatile("st.relaxed.gpu.global.b64 [%0], %1;" :: "l"(p), "l"(v) : "memory"); }
DEVICE void load128(Pair &v, const Pair *p, bool wanted) {
  asm volatile("{\n.reg .pred q;\nsetp.ne.u32 q, %3, 0;\n@q ld.relaxed.gpu.global.v2.b64 {%0, %1}, [%2];\n}"
               : "+l"(v.low), "+l"(v.high) : "l"(p), "r"((u32)wanted) : "memory");
}
DEVICE void store128(Pair *p, Pair v) {
  asm volatile("st.relaxed.gpu.global.v2.b64 [%0], {%1, %2};" :: "l"(p), "l"(v.low), "l"(v.high) : "memory"); }

// Each block writes its share of n words {value, tag} and reads all words: a thread loads its words together, then
// reloads those whose tag is not yet that of the round. Two rows alternate: a block that has all words of a round knows
// that every block has read the row before. `wrong` counts values that differ from those sent. The bound leaves 128
// registers per thread, with which two blocks of 256 share a multiprocessor.
extern "C" __global__ void __launch_bounds__(512) tagged64(u64 *rows, int n, int rounds, u32 *wrong, u32 *failed) {
  for (u32 round = 1; round <= rounds; round++) {
    u64 *row = rows + (size_t)(round & 1) * n;
    const int first = (long long)n * blockIdx.x / gridDim.x, end = (long long)n * (blockIdx.x + 1) / gridDim.x;
    for (int i = first + threadIdx.x; i < end; i += blockDim.x)
      store64(row + i, (u64)round << 32 | (round * 7919u + i));
    bool gaveUp = false;
    u64 word[28];
    bool missing = true;
#pragma unroll
    for (int k = 0; k < 28; k++) word[k] = (u64)(threadIdx.x + k * blockDim.x < n ? round - 1 : round) << 32;
    for (u32 polls = 0; missing && !gaveUp; polls++) {
      if (polls > LIMIT || (polls > 1024 && pollRelaxed(failed))) { *failed = 1; gaveUp = true; }
      missing = false;
#pragma unroll
      for (int k = 0; k < 28; k++) load64(word[k], row + threadIdx.x + k * blockDim.x, (u32)(word[k] >> 32) != round);
#pragma unroll
      for (int k = 0; k < 28; k++) missing |= (u32)(word[k] >> 32) != round;
    }
#pragma unroll
    for (int k = 0; k < 28; k++) {
      const int i = threadIdx.x + k * blockDim.x;
      if (i < n && !gaveUp && (u32)word[k] != round * 7919u + i) atomicAdd(wrong, 1u);
    }
    if (__syncthreads_or(gaveUp)) return;
  }
}

// The same with three values and a tag in 16 bytes. PTX does not guarantee that such a pair is read as it was written;
// `wrong` shows whether this GPU ever tears one.
extern "C" __global__ void __launch_bounds__(512) tagged128(Pair *rows, int n, int rounds, u32 *wrong, u32 *failed) {
  for (u32 round = 1; round <= rounds; round++) {
    Pair *row = rows + (size_t)(round & 1) * n;
    const int first = (long long)n * blockIdx.x / gridDim.x, end = (long long)n * (blockIdx.x + 1) / gridDim.x;
    for (int i = first + threadIdx.x; i < end; i += blockDim.x) {
      const u32 value = round * 7919u + i;
      store128(row + i, Pair{(u64)(value + 1) << 32 | value, (u64)round << 32 | (value + 2)});
    }
    bool gaveUp = false;
    Pair word[10];
    bool missing = true;
#pragma unroll
    for (int k = 0; k < 10; k++) word[k] = Pair{0, (u64)(threadIdx.x + k * blockDim.x < n ? round - 1 : round) << 32};
    for (u32 polls = 0; missing && !gaveUp; polls++) {
      if (polls > LIMIT || (polls > 1024 && pollRelaxed(failed))) { *failed = 1; gaveUp = true; }
      missing = false;
#pragma unroll
      for (int k = 0; k < 10; k++)
        load128(word[k], row + threadIdx.x + k * blockDim.x, (u32)(word[k].high >> 32) != round);
#pragma unroll
      for (int k = 0; k < 10; k++) missing |= (u32)(word[k].high >> 32) != round;
    }
#pragma unroll
    for (int k = 0; k < 10; k++) {
      const int i = threadIdx.x + k * blockDim.x;
      const u32 value = round * 7919u + i;
      const bool isRight = word[k].low == ((u64)(value + 1) << 32 | value) && (u32)word[k].high == value + 2;
      if (i < n && !gaveUp && !isRight) atomicAdd(wrong, 1u);
    }
    if (__syncthreads_or(gaveUp)) return;
  }
}
"""

PREFETCH = COMMON + r"""
// kind 1: prefetch.global.L2 of the first byte of each page; 2: cp.async.bulk.prefetch.L2 of `bytes`. Then the clocks
// of one of 64 dependent loads at `offset`: about 250 from L2, 600 or more from memory.
extern "C" __global__ void reach(const char *data, int kind, int bytes, int offset, u32 *clocks, u32 *sink) {
  if (threadIdx.x != 0) return;
  for (int i = 0; kind != 0 && i < 64; i++) {
    const char *p = data + 4096 * i;
    if (kind == 1) asm volatile("prefetch.global.L2 [%0];" :: "l"(p));
#if __CUDA_ARCH__ >= 900
    if (kind == 2) asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" :: "l"(p), "r"(bytes) : "memory");
#endif
  }
  const u32 start = clockNow();
  while (clockNow() - start < 30000) {}
  // Each address depends on the previous load but is not changed by it, because the data are zeros.
  u32 x = 0;
  const u32 from = clockNow();
  for (int i = 0; i < 64; i++)
    asm volatile("ld.global.cg.u32 %0, [%1];" : "=r"(x) : "l"(data + 4096 * i + offset + x) : "memory");
  *clocks = (clockNow() - from + x) / 64;
  *sink = x;
}
"""

STREAM = COMMON + r"""
// Every thread keeps `ahead` loads of 16 bytes in flight.
template <int ahead> DEVICE void stream(const uint4 *p, u64 n, u32 *sink) {
  u32 x = 0;
  const u64 step = (u64)gridDim.x * blockDim.x;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i + (ahead - 1) * step < n; i += ahead * step) {
    uint4 v[ahead];
#pragma unroll
    for (int a = 0; a < ahead; a++)
      asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(v[a].x), "=r"(v[a].y), "=r"(v[a].z), "=r"(v[a].w) : "l"(p + i + a * step));
    // The last load is used first, in sums that cannot be reordered, so the compiler must keep all loads in flight.
#pragma unroll
    for (int a = ahead - 1; a >= 0; a--) x = x * 33 + (v[a].x ^ v[a].y ^ v[a].z ^ v[a].w);
  }
  if (x == 0x12345u) *sink = x;
}
extern "C" __global__ void stream1(const uint4 *p, u64 n, u32 *sink) { stream<1>(p, n, sink); }
extern "C" __global__ void stream3(const uint4 *p, u64 n, u32 *sink) { stream<3>(p, n, sink); }
extern "C" __global__ void stream5(const uint4 *p, u64 n, u32 *sink) { stream<5>(p, n, sink); }
extern "C" __global__ void stream10(const uint4 *p, u64 n, u32 *sink) { stream<10>(p, n, sink); }
"""

# Needs sm_90 or newer.
RING = COMMON + r"""
DEVICE u32 shared(const void *p) { return (u32)__cvta_generic_to_shared(p); }
DEVICE bool phaseDone(u32 barrier, u32 parity) {
  u32 done;
  asm volatile("{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
               : "=r"(done) : "r"(barrier), "r"(parity) : "memory");
  return done;
}
DEVICE void fetch(u32 to, const char *from, u32 bytes, u32 barrier) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(barrier), "r"(bytes) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}

// Each block streams its share through `stages` pieces of shared memory that bulk copies fill. The threads read each
// piece once.
extern "C" __global__ void ring(const char *data, u64 share, int stages, int bytes, u32 *sink, u32 *failed) {
  extern __shared__ __align__(128) char pieces[];
  __shared__ u64 full[32];
  const char *mine = data + share * blockIdx.x;
  const int count = share / bytes;
  if (threadIdx.x == 0) {
    for (int s = 0; s < stages; s++)
      asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(shared(full + s)) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
    for (int s = 0; s < stages && s < count; s++)
      fetch(shared(pieces + s * bytes), mine + (u64)s * bytes, bytes, shared(full + s));
  }
  __syncthreads();
  u32 x = 0;
  bool gaveUp = false;
  for (int i = 0; i < count && !gaveUp; i++) {
    const int s = i % stages;
    for (u32 polls = 0; !phaseDone(shared(full + s), i / stages & 1); polls++)
      if (polls > LIMIT) { *failed = 1; gaveUp = true; break; }
    for (int at = threadIdx.x * 16; at < bytes; at += blockDim.x * 16) {
      const uint4 v = *(const uint4 *)(pieces + s * bytes + at);
      x ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    gaveUp = __syncthreads_or(gaveUp);
    if (threadIdx.x == 0 && i + stages < count && !gaveUp) {
      asm volatile("fence.proxy.async;" ::: "memory");
      fetch(shared(pieces + s * bytes), mine + (u64)(i + stages) * bytes, bytes, shared(full + s));
    }
  }
  if (x == 0x12345u) *sink = x;
}
"""

RATES = COMMON + r"""
// Eight independent chains per warp; the numbers do not matter.
extern "C" __global__ void tensor(int rounds, u32 *clocks, int *sink) {
  int c[8][4] = {};
  const u32 a = threadIdx.x, b = threadIdx.x * 3;
  __syncthreads();
  const u32 start = clockNow();
  for (int r = 0; r < rounds; r++)
#pragma unroll
    for (int k = 0; k < 8; k++)
      asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 "
                   "{%0, %1, %2, %3}, {%4, %4, %4, %4}, {%5, %5}, {%0, %1, %2, %3};"
                   : "+r"(c[k][0]), "+r"(c[k][1]), "+r"(c[k][2]), "+r"(c[k][3]) : "r"(a), "r"(b));
  __syncthreads();
  if (threadIdx.x == 0 && blockIdx.x == 0) *clocks = clockNow() - start;
  int sum = 0;
  for (int k = 0; k < 8; k++) sum += c[k][0] + c[k][1] + c[k][2] + c[k][3];
  if (sum == 0x12345) *sink = sum;
}
extern "C" __global__ void dots(int rounds, u32 *clocks, int *sink) {
  int c[8] = {};
  const u32 a = threadIdx.x, b = threadIdx.x * 3;
  __syncthreads();
  const u32 start = clockNow();
  for (int r = 0; r < rounds; r++)
#pragma unroll
    for (int k = 0; k < 8; k++) asm volatile("dp4a.u32.s32 %0, %1, %2, %0;" : "+r"(c[k]) : "r"(a), "r"(b));
  __syncthreads();
  if (threadIdx.x == 0 && blockIdx.x == 0) *clocks = clockNow() - start;
  int sum = 0;
  for (int k = 0; k < 8; k++) sum += c[k];
  if (sum == 0x12345) *sink = sum;
}
"""

SOURCES = {"barriers": BARRIERS, "tagged": TAGGED, "prefetch": PREFETCH, "stream": STREAM, "ring": RING, "rates": RATES}


class Probe:
    def __init__(self):
        import cupy

        self.cupy, self.modules = cupy, {}
        device = cupy.cuda.Device()
        self.blocks = device.attributes["MultiProcessorCount"]
        self.capability = device.compute_capability
        self.sink = cupy.zeros(4, cupy.uint32)
        self.failed = cupy.zeros(1, cupy.uint32)
        self.state = cupy.zeros(64, cupy.uint32)
        say(
            measure="device",
            name=cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode(),
            capability=self.capability,
            multiprocessors=self.blocks,
            cupy=cupy.__version__,
        )

    def kernel(self, source, name):
        if source not in self.modules:
            self.modules[source] = self.cupy.RawModule(code=SOURCES[source], options=("--std=c++17",))
        return self.modules[source].get_function(name)

    def seconds(self, run, times=3):
        """Returns the shortest of some runs, after one that is not timed. Fails if a wait gave up."""
        cuda, best = self.cupy.cuda, float("inf")
        for turn in range(times + 1):
            self.failed.fill(0)
            start, end = cuda.Event(), cuda.Event()
            start.record()
            run()
            end.record()
            end.synchronize()
            if int(self.failed[0]):
                raise RuntimeError("a wait on the device gave up")
            if turn > 0:
                best = min(best, cuda.get_elapsed_time(start, end) / 1000)
        return best

    def barrier(self, per, threads, relaxed):
        i32, rounds = self.cupy.int32, 1000
        data = self.cupy.zeros(per * self.blocks * threads, self.cupy.float32)
        kernel = self.kernel("barriers", "barriers")

        def run():
            self.state.fill(0)
            kernel((per * self.blocks,), (threads,), (self.state, data, i32(rounds), i32(relaxed), self.failed))

        return {"microseconds": self.seconds(run) / rounds * 1e6}

    def handover(self, bits, per, threads, values):
        cupy, rounds = self.cupy, 1000
        words = values if bits == 64 else (values + 2) // 3
        row, wrong = cupy.zeros(2 * words * bits // 64, cupy.uint64), cupy.zeros(1, cupy.uint32)
        kernel = self.kernel("tagged", f"tagged{bits}")

        def run():
            row.fill(0)
            kernel((per * self.blocks,), (threads,), (row, cupy.int32(words), cupy.int32(rounds), wrong, self.failed))

        found = {"microseconds": self.seconds(run) / rounds * 1e6, "wrong_words": int(wrong[0])}
        if bits == 128:
            found["note"] = "PTX does not promise that 16 bytes are one access"
        return found

    def row(self, per, threads, values):
        cupy = self.cupy
        row, worst = cupy.zeros(values, cupy.float32), cupy.zeros(1, cupy.uint32)
        self.state.fill(0)
        self.failed.fill(0)
        self.kernel("barriers", "rows")(
            (per * self.blocks,),
            (threads,),
            (self.state, row, cupy.int32(values), cupy.int32(200), worst, self.sink, self.failed),
        )
        if int(self.failed[0]):
            raise RuntimeError("a wait on the device gave up")
        return {"clocks_of_the_slowest": int(worst[0])}

    def prefetch(self, kind, size, offset):
        cupy = self.cupy
        if not hasattr(self, "pages"):
            # Larger than the L2 cache, so that filling its rear half evicts the front half from the cache.
            self.pages = cupy.zeros(256 << 20, cupy.uint8)
        self.pages.fill(0)
        self.pages[128 << 20 :].fill(0)
        clocks = cupy.zeros(1, cupy.uint32)
        self.kernel("prefetch", "reach")(
            (1,), (32,), (self.pages, cupy.int32(kind), cupy.int32(size), cupy.int32(offset), clocks, self.sink)
        )
        return {"clocks": int(clocks[0])}

    def data(self):
        if not hasattr(self, "gigabyte"):
            self.gigabyte = self.cupy.zeros(1 << 30, self.cupy.uint8)
        return self.gigabyte

    def stream(self, ahead, per, threads):
        data = self.data()
        kernel = self.kernel("stream", f"stream{ahead}")
        count = self.cupy.uint64(data.size // 16)
        taken = self.seconds(lambda: kernel((per * self.blocks,), (threads,), (data, count, self.sink)), 2)
        return {"bytes_per_second": data.size / taken}

    def ring(self, kilobytes, piece, threads):
        if int(self.capability) < 90:
            raise RuntimeError(f"the capability is {self.capability}; expected 90 or more")
        data = self.data()
        stages = kilobytes // piece
        kernel = self.kernel("ring", "ring")
        kernel.max_dynamic_shared_size_bytes = stages * piece * 1024
        share = data.size // self.blocks // (piece * 1024) * (piece * 1024)
        arguments = (
            data,
            self.cupy.uint64(share),
            self.cupy.int32(stages),
            self.cupy.int32(piece * 1024),
            self.sink,
            self.failed,
        )
        run = lambda: kernel((self.blocks,), (threads,), arguments, shared_mem=stages * piece * 1024)
        return {"bytes_per_second": share * self.blocks / self.seconds(run, 2)}

    def rate(self, name, warps):
        cupy, rounds = self.cupy, 2000
        clocks = cupy.zeros(1, cupy.uint32)
        for _ in range(2):
            self.kernel("rates", name)(
                (self.blocks,), (32 * warps,), (cupy.int32(rounds), clocks, self.sink.view(cupy.int32))
            )
        each = 16 * 8 * 32 if name == "tensor" else 32 * 4
        return {"products_per_clock_and_multiprocessor": rounds * 8 * warps * each / int(clocks[0])}


def say(**facts):
    print(json.dumps(facts), flush=True)


def main():
    if sys.argv[1:] == ["--source"]:
        print(json.dumps(SOURCES))
        return
    if sys.argv[1:]:
        sys.exit(__doc__)
    begin = time.monotonic()
    try:
        probe = Probe()
    except Exception as error:
        say(measure="device", error=f"{type(error).__name__}: {error}")
        sys.exit(1)
    # Run the most important measurements first, because time may not suffice for all.
    grids = [(1, 256), (1, 512), (2, 256), (2, 512)]
    plan = [("barrier", dict(per=p, threads=t, relaxed=r)) for p, t in grids for r in (0, 1)]
    plan += [
        ("handover", dict(bits=b, per=p, threads=t, values=v))
        for b in (64, 128)
        for p, t in grids[:3]
        for v in (2560, 6912)
    ]
    plan += [("row", dict(per=p, threads=t, values=v)) for p, t in grids[:3] for v in (2560, 6912)]
    plan += [
        ("prefetch", dict(kind=k, size=s, offset=o))
        for k, s in ((0, 0), (1, 0), (2, 16), (2, 128))
        for o in (0, 32, 64, 96, 128)
    ]
    plan += [
        ("ring", dict(kilobytes=k, piece=p, threads=256))
        for k, p in ((32, 8), (64, 8), (128, 8), (184, 8), (128, 16), (192, 16))
    ]
    plan += [
        ("stream", dict(ahead=a, per=p, threads=t))
        for a in (1, 3, 5, 10)
        for p, t in ((1, 256), (2, 256), (1, 512), (3, 256))
    ]
    plan += [("rate", dict(name=n, warps=w)) for n in ("tensor", "dots") for w in (4, 8, 16)]
    for measure, settings in plan:
        if time.monotonic() - begin > 20:
            say(measure=measure, **settings, error="20 s are over")
            continue
        try:
            found = getattr(probe, measure)(**settings)
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"[:600]}
        say(measure=measure, **settings, **found)


if __name__ == "__main__":
    main()
