// All that is not plain C++: types, inline PTX, and their stand-ins when the kernels run on a CPU (CUDA_ON_CPU). No
// header of NVIDIA's is included, so the kernels compile with NVRTC alone.
#pragma once

#ifdef CUDA_ON_CPU
#include "cuda_on_cpu.h"

typedef unsigned long long uint64;

namespace ptx {
// On a CPU all memory is coherent.
template <class Value> inline Value loadCoherent(const Value *p) { return *p; }
}  // namespace ptx
#else

typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef unsigned long long uint64;

#define DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]

namespace ptx {

#define PTX __device__ __forceinline__

/// c + the dot product of four unsigned with four signed bytes.
PTX int dp4a(unsigned a, int b, int c) {
  int d;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
/// c + the dot product of four signed bytes with four signed bytes.
PTX int dp4aSigned(int a, int b, int c) {
  int d;
  asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}
/// C += A·B over a warp, A 16×32 unsigned bytes by rows, B 32×8 signed bytes by columns.
PTX void mma(int (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// The same with signed bytes in A.
PTX void mmaSigned(int (&c)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// Starts a copy of 16 bytes to shared memory, both ends aligned to 16.
PTX void copyAsync16(void *shared, const void *global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((unsigned)__cvta_generic_to_shared(shared)),
               "l"(global)
               : "memory");
}
/// The same, or sixteen zeros when not valid: then nothing is read.
PTX void copyAsync16Zero(void *shared, const void *global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}
PTX void commitAsync() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most N of this thread's committed groups are under way.
template <int N> PTX void waitAsync() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

#if __CUDA_ARCH__ >= 900
/// Makes a barrier in shared memory on which threads wait for copies, before a barrier of the block.
PTX void initBarrier(uint64 *barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"((unsigned)__cvta_generic_to_shared(barrier)) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/// Announces the bytes of a barrier's next round. The copies of the round follow, and no others.
PTX void expectBytes(uint64 *barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                   (unsigned)__cvta_generic_to_shared(barrier)),
               "r"(bytes)
               : "memory");
}
/// Starts a copy to shared memory; addresses and bytes are multiples of 16.
PTX void copyBulk(void *shared, const void *global, unsigned bytes, uint64 *barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   (unsigned)__cvta_generic_to_shared(shared)),
               "l"(global), "r"(bytes), "r"((unsigned)__cvta_generic_to_shared(barrier))
               : "memory");
}
/// Waits until the round of this parity is complete: 0 for the first round, 1 for the second, …
PTX void waitBarrier(uint64 *barrier, unsigned parity) {
  unsigned isComplete;
  do {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
        : "=r"(isComplete)
        : "r"((unsigned)__cvta_generic_to_shared(barrier)), "r"(parity)
        : "memory");
  } while (!isComplete);
}
#endif

/// Loads sixteen bytes that are read once, past the first-level cache. Nothing writes them while the kernel runs.
PTX uint4 loadStream(const uint4 *p) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
/// Loads a word of the same kind of data.
PTX unsigned loadStream(const unsigned *p) {
  unsigned v;
  asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}
/// Loads data that other blocks may have written in this launch, past the first-level cache.
PTX float loadCoherent(const float *p) {
  float v;
  asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory");
  return v;
}
PTX float4 loadCoherent(const float4 *p) {
  float4 v;
  asm volatile("ld.global.cg.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(p)
               : "memory");
  return v;
}
PTX float2 loadCoherent(const float2 *p) {
  float2 v;
  asm volatile("ld.global.cg.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "l"(p) : "memory");
  return v;
}
PTX uint4 loadCoherent(const uint4 *p) {
  uint4 v;
  asm volatile("ld.global.cg.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p)
               : "memory");
  return v;
}
PTX unsigned loadCoherent(const unsigned *p) {
  unsigned v;
  asm volatile("ld.global.cg.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
PTX uint64 loadCoherent(const uint64 *p) {
  uint64 v;
  asm volatile("ld.global.cg.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
  return v;
}
/// Prefetches the 128 bytes around an address into the second-level cache.
PTX void prefetchL2(const void *p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

PTX unsigned loadAcquire(const unsigned *p) {
  unsigned v;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
/// Adds to a counter; a thread that acquires the new value sees this thread's writes before.
PTX unsigned addRelease(unsigned *p, unsigned v) {
  unsigned old;
  asm volatile("atom.add.acq_rel.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(v) : "memory");
  return old;
}
/// Adds to a counter, in no order with this thread's other accesses.
PTX unsigned addRelaxed(unsigned *p, unsigned v) {
  unsigned old;
  asm volatile("atom.add.relaxed.gpu.global.u32 %0, [%1], %2;" : "=r"(old) : "l"(p), "r"(v) : "memory");
  return old;
}
/// Loads a word that another block may be writing, from the second-level cache.
PTX unsigned loadRelaxed(const unsigned *p) {
  unsigned v;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
  return v;
}
PTX float loadRelaxed(const float *p) {
  float v;
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(v) : "l"(p) : "memory");
  return v;
}
/// Stores a word that another block may be reading.
PTX void storeRelaxed(float *p, float v) {
  asm volatile("st.relaxed.gpu.global.f32 [%0], %1;" ::"l"(p), "f"(v) : "memory");
}
/// A message that the host polls.
PTX void storeReleaseSystem(uint64 *p, uint64 v) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}

PTX int reduceAdd(int v) { return __reduce_add_sync(0xFFFFFFFFu, v); }
PTX unsigned reduceMax(unsigned v) { return __reduce_max_sync(0xFFFFFFFFu, v); }

/// Rounded to bfloat16, to nearest even.
PTX uint16_t toBFloat16(float x) {
  uint16_t b;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(b) : "f"(x));
  return b;
}

PTX void countGridBarrier() {}

/// The multiprocessor's clock, its lower half.
PTX unsigned ticks() {
  unsigned t;
  asm volatile("mov.u32 %0, %%clock;" : "=r"(t)::"memory");
  return t;
}
/// Ends the launch with an error.
PTX void trap() { asm volatile("trap;"); }

/// Polls of a barrier before a block gives up: a few seconds, where a step takes less than a millisecond.
constexpr unsigned mostPolls = 1u << 23;

#undef PTX
}  // namespace ptx
#endif

#include "CUDAKernels.h"

namespace ptx {
/// A barrier of all blocks of a cooperative launch, in two halves, between which a block can ask for the data it will
/// need next. Every thread that has waited sees the writes of every thread that arrived, also through the first-level
/// cache: the waiting thread's acquire empties it.
///
/// state: one word, zero before the first launch that uses it and not written between launches. Block 0 adds the number
/// that makes the round's sum 2^31: the top bit flips when all blocks have arrived, and the lower bits are zero again,
/// so nothing ever needs clearing. gridArrive returns the ticket that gridWait takes.
__device__ __forceinline__ unsigned gridArrive(unsigned *state) {
  __syncthreads();
  if (threadIdx.x != 0) return 0;
  countGridBarrier();
  return addRelease(state, blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1u);
}

/// gridArrive without a fence: the block's reads before it are complete, but its writes may still be on their way.
__device__ __forceinline__ unsigned gridArriveRelaxed(unsigned *state) {
  __syncthreads();
  if (threadIdx.x != 0) return 0;
  countGridBarrier();
  return addRelaxed(state, blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1u);
}

/// Records in pinned memory where this block gave up, lets the others do so too, and ends the launch.
///
/// stalls: StallRecord [stallRecords], zero. handOver: which of the launch's barriers it is, from 0.
__device__ __forceinline__ void reportStall(const unsigned *state, unsigned ticket, int handOver, uint64 *stalls) {
  if (stalls && blockIdx.x < stallRecords) {
    const unsigned now = loadAcquire(state);
    storeReleaseSystem(stalls + 2 * blockIdx.x + 1, (uint64)now << 32 | ticket);
    storeReleaseSystem(stalls + 2 * blockIdx.x, (uint64)gridDim.x << 32 | (unsigned)(handOver + 1));
  }
  for (unsigned polls = 0; polls < mostPolls / 16; polls++)
    if ((ticket ^ loadAcquire(state)) & 0x80000000u) break;
  trap();
}

__device__ __forceinline__ void gridWait(unsigned *state, unsigned ticket, int handOver, uint64 *stalls) {
  if (threadIdx.x == 0)
    for (unsigned polls = 0; ((ticket ^ loadAcquire(state)) & 0x80000000u) == 0; polls++)
      if (polls == mostPolls) reportStall(state, ticket, handOver, stalls);
  __syncthreads();
}

/// gridWait after gridArriveRelaxed.
__device__ __forceinline__ void gridWaitRelaxed(unsigned *state, unsigned ticket, int handOver, uint64 *stalls) {
  if (threadIdx.x == 0)
    for (unsigned polls = 0; ((ticket ^ loadRelaxed(state)) & 0x80000000u) == 0; polls++)
      if (polls == mostPolls) reportStall(state, ticket, handOver, stalls);
  __syncthreads();
}
}  // namespace ptx
