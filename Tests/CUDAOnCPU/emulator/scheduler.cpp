// Selects the next thread to run, and reports when none can run.
#include <sched.h>

#include <bit>

#include "failures.h"
#include "launch.h"
#include "registry.h"

namespace emulator {

void makeReady(Warp &warp, uint32_t lanes) {
  warp.ready |= lanes;
  if (lanes != 0) warp.block->readyWarps |= uint32_t{1} << warp.index;
}

void yieldThread(const char *what, Location where) {
  Thread &thread = *execution.thread;
  thread.warp->yielded |= thread.bit();
  suspend(what, where);
}

void preempt() {
  Thread &thread = *execution.thread;
  makeReady(*thread.warp, thread.bit());
  suspend(thread.waitsIn, thread.where);
}

Thread *Launch::firstReady(Block &block) {
  while (block.readyWarps != 0) {
    Warp &warp = block.warps[size_t(std::countr_zero(block.readyWarps))];
    if (warp.ready != 0) return take(warp, uint32_t(std::countr_zero(warp.ready)));
    block.readyWarps &= block.readyWarps - 1;
  }
  return nullptr;
}

// Returns one bit of a nonempty mask: any at random, or the first in the current order.
uint32_t Launch::draw(uint32_t mask) {
  if (uniform) {
    for (uint32_t n = random.below(uint32_t(std::popcount(mask))); n > 0; n--) mask &= mask - 1;
    return uint32_t(std::countr_zero(mask));
  }
  uint32_t best = 32;
  for (; mask != 0; mask &= mask - 1) {
    const uint32_t bit = uint32_t(std::countr_zero(mask));
    if (best == 32 || (bit ^ order) < (best ^ order)) best = bit;
  }
  return best;
}

Thread *Launch::drawReady(Block &block) {
  while (block.readyWarps != 0) {
    const uint32_t w = draw(block.readyWarps);
    Warp &warp = block.warps[w];
    if (warp.ready != 0) return take(warp, draw(warp.ready));
    block.readyWarps &= ~(uint32_t{1} << w);
  }
  return nullptr;
}

Thread *Launch::search() {
  const uint32_t count = uint32_t(blocks.size());
  for (;;) {
    if (execution.seeded) {
      if (random.oneIn(64)) order = random.below(32);
      if (count > 1 && random.oneIn(16)) currentBlock = random.below(count);
    }
    for (uint32_t i = 0; i < count; i++) {
      Thread *thread = execution.seeded ? drawReady(blocks[currentBlock]) : firstReady(blocks[currentBlock]);
      if (thread) return thread;
      if (++currentBlock == count) currentBlock = 0;
    }
    if (!wakeYielded()) return nullptr;
  }
}

// Makes the spinning threads ready again after no thread was. Returns false when no thread is alive.
bool Launch::wakeYielded() {
  // Threads that spin may wait for late stores.
  for (size_t count = (lateStores.size() + 1) / 2; count > 0; count--)
    land(execution.seeded ? random.below(uint32_t(lateStores.size())) : 0);
  bool anyAlive = false, anyYielded = false;
  for (Block &block : blocks) {
    if (block.live == 0) continue;
    anyAlive = true;
    for (Warp &warp : block.warps) {
      anyYielded |= warp.yielded != 0;
      makeReady(warp, warp.yielded);
      warp.yielded = 0;
    }
  }
  if (!anyAlive) return false;
  if (!anyYielded) {
    failure = launchFailed;
    message = "deadlock in kernel " + kernel->name + ": " + waitersOf(*this);
    abandonLaunch();
  }
  if (execution.progress != progressAtLastRound) fruitlessRounds = 0;
  progressAtLastRound = execution.progress;
  if (++fruitlessRounds < 100) return true;
  // The threads may be waiting for the host.
  sched_yield();
  const auto now = std::chrono::steady_clock::now();
  if (fruitlessRounds == 100) fruitlessSince = now;
  if (now - fruitlessSince > std::chrono::milliseconds(spinLimit)) {
    failure = launchTimeout;
    message = "kernel " + kernel->name + " spins without end: " + waitersOf(*this);
    abandonLaunch();
  }
  return true;
}

}  // namespace emulator
