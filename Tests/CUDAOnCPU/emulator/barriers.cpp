// __syncthreads and warp collectives.
#include <cstring>

#include "builtins.h"
#include "failures.h"
#include "launch.h"
#include "matrix.h"

namespace emulator {

void releaseBarrierIfComplete(Block &block) {
  if (block.arrived == 0 || block.arrived != block.live) return;
  block.arrived = 0;
  for (Warp &warp : block.warps) {
    makeReady(warp, warp.atBarrier);
    warp.atBarrier = 0;
  }
  execution.counts.blockBarriers++;
}

void blockBarrier(Location where) {
  schedulingPoint();
  Thread &thread = *execution.thread;
  Block &block = *thread.block;
  block.arrived++;
  if (block.arrived == block.live) {
    releaseBarrierIfComplete(block);
    return;
  }
  thread.warp->atBarrier |= thread.bit();
  suspend("__syncthreads", where);
}

static const char *nameOf(uint32_t kind) {
  switch (Collective(kind & 0xFF)) {
    case Collective::synchronize: return "__syncwarp";
    case Collective::shuffle: return "a shuffle";
    case Collective::ballot: return "__ballot_sync";
    case Collective::any: return "__any_sync";
    case Collective::all: return "__all_sync";
    case Collective::add: return "ptx::reduceAdd";
    case Collective::maximum: return "ptx::reduceMax";
    case Collective::matrix: return "ptx::mma";
  }
  return "a collective";
}

// The value that a shuffle reads from a lane that does not take part; it is undefined on a device.
constexpr uint64_t poison = 0xCDCDCDCDCDCDCDCDu;

// Computes the results of a meeting for each of `lanes`, after all of them have arrived.
static void complete(Warp &warp, uint32_t kind, uint32_t lanes) {
  const auto each = [&](auto body) {
    for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) body(uint32_t(__builtin_ctz(rest)));
  };
  const auto give = [&](uint64_t outcome) { each([&](uint32_t lane) { warp.outcomes[lane] = outcome; }); };
  switch (Collective(kind & 0xFF)) {
    case Collective::synchronize: break;
    case Collective::shuffle:
      each([&](uint32_t lane) {
        warp.outcomes[lane] = lanes >> warp.sources[lane] & 1 ? warp.values[warp.sources[lane]] : poison;
      });
      break;
    case Collective::ballot: case Collective::any: case Collective::all: {
      uint32_t votes = 0;
      each([&](uint32_t lane) { votes |= uint32_t(warp.values[lane] != 0) << lane; });
      if (Collective(kind & 0xFF) == Collective::any) votes = votes != 0;
      if (Collective(kind & 0xFF) == Collective::all) votes = votes == lanes;
      give(votes);
      break;
    }
    case Collective::add: {
      uint32_t sum = 0;
      each([&](uint32_t lane) { sum += uint32_t(warp.values[lane]); });
      give(sum);
      break;
    }
    case Collective::maximum: {
      uint64_t most = 0;
      each([&](uint32_t lane) { most = warp.values[lane] > most ? warp.values[lane] : most; });
      give(most);
      break;
    }
    case Collective::matrix: multiply(warp.operands); execution.counts.matrixProducts++; break;
  }
}

static void remove(Warp &warp, uint32_t meeting) { warp.meetings[meeting] = warp.meetings[--warp.meetingCount]; }

// Completes the meetings that were only waiting for a lane that has ended.
void leaveMeetings(Warp &warp) {
  for (uint32_t m = 0; m < warp.meetingCount;) {
    const Meeting meeting = warp.meetings[m];
    if (meeting.arrived != (meeting.mask & warp.alive)) {
      m++;
      continue;
    }
    remove(warp, m);
    complete(warp, meeting.kind, meeting.arrived);
    makeReady(warp, meeting.arrived);
  }
}

static void meet(uint32_t kind, uint32_t mask, Location where) {
  Thread &thread = *execution.thread;
  Warp &warp = *thread.warp;
  const uint32_t bit = thread.bit();
  if ((mask & bit) == 0)
    fail(launchFailed, "called a collective of the warp with a mask that lacks its own lane", where);
  if (Collective(kind & 0xFF) == Collective::matrix && warp.alive != ~uint32_t{0})
    fail(launchFailed, "called ptx::mma in a warp that is not whole", where);
  uint32_t m = 0;
  while (m < warp.meetingCount && (warp.meetings[m].kind != kind || warp.meetings[m].mask != mask)) m++;
  if (m == warp.meetingCount) warp.meetings[warp.meetingCount++] = {kind, mask, 0};
  const uint32_t arrived = warp.meetings[m].arrived |= bit;
  // Lanes at another collective may arrive later, unless they wait for one of these lanes.
  for (uint32_t other = 0; other < warp.meetingCount; other++)
    if (other != m && (warp.meetings[other].arrived & mask) != 0 && (warp.meetings[other].mask & arrived) != 0)
      fail(launchFailed, "lanes of a warp are at different collectives or name different masks", where);
  if (arrived == (mask & warp.alive)) {
    remove(warp, m);
    complete(warp, kind, arrived);
    makeReady(warp, arrived & ~bit);
    return;
  }
  suspend(nameOf(kind), where);
}

uint64_t collective(Collective kind, uint32_t mask, uint64_t value, Location where) {
  schedulingPoint();
  Thread &thread = *execution.thread;
  thread.warp->values[thread.lane] = value;
  meet(uint32_t(kind), mask, where);
  return thread.warp->outcomes[thread.lane];
}

uint64_t shuffle(Shuffle shuffle, uint32_t byteCount, uint32_t mask, uint64_t value, uint32_t operand, int width,
                 Location where) {
  schedulingPoint();
  Thread &thread = *execution.thread;
  Warp &warp = *thread.warp;
  if (width < 1 || width > 32 || (width & (width - 1)) != 0)
    fail(launchFailed, "called a shuffle with a width that is not a power of two up to 32", where);
  // As in shfl.sync, a lane whose source is outside of its segment reads its own value.
  const uint32_t lane = thread.lane, segment = uint32_t(width), first = lane & ~(segment - 1),
                 last = first + segment - 1;
  uint32_t source = lane;
  switch (shuffle) {
    case Shuffle::index: source = first | (operand & (segment - 1)); break;
    case Shuffle::up: source = lane >= first + operand % 32 ? lane - operand % 32 : lane; break;
    case Shuffle::down: source = lane + operand % 32 <= last ? lane + operand % 32 : lane; break;
    case Shuffle::exclusiveOr: source = (lane ^ operand % 32) <= last ? lane ^ operand % 32 : lane; break;
  }
  warp.values[lane] = value;
  warp.sources[lane] = uint8_t(source);
  meet(uint32_t(Collective::shuffle) | uint32_t(shuffle) << 8 | byteCount << 16 | segment << 24, mask, where);
  return warp.outcomes[lane];
}

void matrixProduct(int (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], bool isSigned, Location where) {
  schedulingPoint();
  Thread &thread = *execution.thread;
  MatrixOperands &operands = thread.warp->operands[thread.lane];
  memcpy(operands.a, a, sizeof a);
  memcpy(operands.b, b, sizeof b);
  operands.c = c;
  operands.isSigned = isSigned;
  meet(uint32_t(Collective::matrix), ~uint32_t{0}, where);
}

}  // namespace emulator
