// Lets a CUDA kernel's source compile as C++20 for the emulator: defines CUDA's keywords, variables and functions, and
// the namespace ptx with the same names as the device's inline PTX.
//
// Arithmetic has the device's bits: nothing is contracted, division and square root are IEEE's, integers wrap around.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>

#include "emulator/builtins.h"
#include "emulator/registry.h"
#include "emulator/vectors.h"

#pragma clang fp contract(off)

#define __global__ __attribute__((visibility("hidden")))
#define __device__ __attribute__((visibility("hidden"), unused))
#define __host__
#define __constant__ __attribute__((unused)) static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

// Declares the block's dynamic shared memory, aligned to 16 bytes, and to 128 when its size is a multiple of 128.
#define DYNAMIC_SHARED(name) unsigned char *const name = ::emulator::execution.thread->block->shared

#define threadIdx (static_cast<const uint3 &>(::emulator::execution.thread->index))
#define blockIdx (static_cast<const uint3 &>(::emulator::execution.thread->block->index))
#define blockDim (static_cast<const dim3 &>(::emulator::execution.thread->block->blockSize))
#define gridDim (static_cast<const dim3 &>(::emulator::execution.thread->block->gridSize))
constexpr int warpSize = 32;

#pragma GCC visibility push(hidden)

namespace emulator {

template <class To, class From>
inline To sameBits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// 64-bit integers have two names, and uint64_t is a different one on the host than on the device.
template <class T>
concept Integer = std::same_as<T, int> || std::same_as<T, unsigned> || std::same_as<T, unsigned long> ||
                  std::same_as<T, unsigned long long>;
template <class T>
concept Shuffled = Integer<T> || std::same_as<T, float>;

template <Shuffled T>
inline T shuffle(Shuffle kind, unsigned mask, T value, unsigned operand, int width, Location where) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = shuffle(kind, sizeof value, mask, bits, operand, width, where);
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Replaces *address with change(*address) and returns the old value.
template <Integer T, class Change>
inline T atomically(T *address, Change change) {
  interruptible();
  T old = __atomic_load_n(address, __ATOMIC_RELAXED), fresh;
  do fresh = change(old);
  while (!__atomic_compare_exchange_n(address, &old, fresh, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
  if (fresh != old) execution.progress++;
  return old;
}

// Adds atomically without the loop, because addition is the most frequent atomic.
template <Integer T>
inline T addAtomically(T *address, T value) {
  interruptible();
  if (value != 0) execution.progress++;
  return __atomic_fetch_add(address, value, __ATOMIC_ACQ_REL);
}

// Behave like PTX's max and min: a number wins over a NaN, and +0 is larger than -0.
inline float maximum(float a, float b) {
  if (a != a) return b != b ? sameBits<float>(0x7FFFFFFFu) : b;
  if (a == b) return sameBits<float>(sameBits<unsigned>(a) & sameBits<unsigned>(b));
  return b == b ? (a > b ? a : b) : a;
}
inline float minimum(float a, float b) {
  if (a != a) return b != b ? sameBits<float>(0x7FFFFFFFu) : b;
  if (a == b) return sameBits<float>(sameBits<unsigned>(a) | sameBits<unsigned>(b));
  return b == b ? (a < b ? a : b) : a;
}

template <class T>
inline void storeRelease(T *address, T value) {
  interruptible();
  execution.progress++;
  __atomic_store_n(address, value, __ATOMIC_RELEASE);
}

}  // namespace emulator

// Barriers and warp collectives

inline void __syncthreads(emulator::Location where = emulator::Location::current()) { emulator::blockBarrier(where); }
inline void __syncwarp(unsigned mask = ~0u, emulator::Location where = emulator::Location::current()) {
  emulator::collective(emulator::Collective::synchronize, mask, 0, where);
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32,
                     emulator::Location where = emulator::Location::current()) {
  return emulator::shuffle(emulator::Shuffle::index, mask, value, unsigned(lane), width, where);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                         emulator::Location where = emulator::Location::current()) {
  return emulator::shuffle(emulator::Shuffle::exclusiveOr, mask, value, unsigned(bits), width, where);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32,
                          emulator::Location where = emulator::Location::current()) {
  return emulator::shuffle(emulator::Shuffle::down, mask, value, lanes, width, where);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = 32,
                        emulator::Location where = emulator::Location::current()) {
  return emulator::shuffle(emulator::Shuffle::up, mask, value, lanes, width, where);
}
inline unsigned __ballot_sync(unsigned mask, int vote, emulator::Location where = emulator::Location::current()) {
  return unsigned(emulator::collective(emulator::Collective::ballot, mask, vote != 0, where));
}
inline int __any_sync(unsigned mask, int vote, emulator::Location where = emulator::Location::current()) {
  return int(emulator::collective(emulator::Collective::any, mask, vote != 0, where));
}
inline int __all_sync(unsigned mask, int vote, emulator::Location where = emulator::Location::current()) {
  return int(emulator::collective(emulator::Collective::all, mask, vote != 0, where));
}

// Atomics and fences. The emulator has a single order of execution, so a fence needs no pair in another thread.

inline void __threadfence() {
  emulator::interruptible();
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
inline void __threadfence_block() { __threadfence(); }
inline void __threadfence_system() { __threadfence(); }
template <class T>
inline T atomicAdd(T *address, std::type_identity_t<T> value) {
  return emulator::addAtomically(address, value);
}
template <class T>
inline T atomicMax(T *address, std::type_identity_t<T> value) {
  return emulator::atomically(address, [value](T old) { return old > value ? old : value; });
}
template <class T>
inline T atomicMin(T *address, std::type_identity_t<T> value) {
  return emulator::atomically(address, [value](T old) { return old < value ? old : value; });
}
template <class T>
inline T atomicOr(T *address, std::type_identity_t<T> value) {
  return emulator::atomically(address, [value](T old) { return old | value; });
}
template <class T>
inline T atomicExch(T *address, std::type_identity_t<T> value,
                    emulator::Location where = emulator::Location::current()) {
  const T old = emulator::atomically(address, [value](T) { return value; });
  if (old == value) emulator::spin(where);
  return old;
}
template <class T>
inline T atomicCAS(T *address, std::type_identity_t<T> expected, std::type_identity_t<T> value,
                   emulator::Location where = emulator::Location::current()) {
  const T old = emulator::atomically(address, [=](T old) { return old == expected ? value : old; });
  if (old != expected) emulator::spin(where);
  return old;
}

// Arithmetic

// On a GPU every NaN result has this bit pattern.
inline float emulatedResult(float value) { return value == value ? value : emulator::sameBits<float>(0x7FFFFFFFu); }
inline float __fmaf_rn(float a, float b, float c) { return emulatedResult(__builtin_fmaf(a, b, c)); }
inline float __fadd_rn(float a, float b) { return emulatedResult(a + b); }
inline float __fsub_rn(float a, float b) { return emulatedResult(a - b); }
inline float __fmul_rn(float a, float b) { return emulatedResult(a * b); }
inline float __fdiv_rn(float a, float b) { return emulatedResult(a / b); }
inline float __fsqrt_rn(float a) { return emulatedResult(__builtin_sqrtf(a)); }
// The C library's versions may differ for signed zeros and signalling NaNs.
#define fmaxf(a, b) ::emulator::maximum(a, b)
#define fminf(a, b) ::emulator::minimum(a, b)
inline unsigned __float_as_uint(float a) { return emulator::sameBits<unsigned>(a); }
inline float __uint_as_float(unsigned a) { return emulator::sameBits<float>(a); }
inline int __float_as_int(float a) { return emulator::sameBits<int>(a); }
inline float __int_as_float(int a) { return emulator::sameBits<float>(a); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t{a} * b >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __clz(int a) { return a == 0 ? 32 : __builtin_clz(unsigned(a)); }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline unsigned long min(unsigned long a, unsigned long b) { return a < b ? a : b; }
inline unsigned long max(unsigned long a, unsigned long b) { return a > b ? a : b; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
inline unsigned long long max(unsigned long long a, unsigned long long b) { return a > b ? a : b; }

#pragma GCC visibility pop

#include "ptx_on_cpu.h"
