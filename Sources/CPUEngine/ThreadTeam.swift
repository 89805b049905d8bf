import CTernary
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// A fixed team of threads that go through one piece of work together, phase by phase.
///
/// A forward pass is hundreds of short phases. The pieces of a phase are dealt out one by one, and a phase is over when all its
/// pieces are done, not when all members have come: a member that the system has suspended holds nobody up, unless in the middle of a
/// piece. Waiting is done in a loop first, for microseconds; who waits longer gives its core away, and between steps members sleep.
final class ThreadTeam: @unchecked Sendable {
  // Unchecked: `work` is written only while every other thread waits for `generation` to change.

  /// One thread's way through the phases. Every member calls the same phases in the same order.
  final class Member {
    let index: Int
    let count: Int
    private let team: ThreadTeam
    private var phase: UInt64 = 0

    fileprivate init(index: Int, count: Int, team: ThreadTeam) {
      self.index = index
      self.count = count
      self.team = team
    }

    /// A phase: runs `body` once for each piece in `0..<pieces`, on whichever member is free; returns when all are done.
    func phase(_ pieces: Int, _ body: (Int) -> Void) {
      guard pieces > 0 else { return }
      guard count > 1 else {
        for piece in 0..<pieces { body(piece) }
        return
      }
      team.deal(phase, UInt64(pieces), body)
      phase += 1
    }

    /// A phase over `0..<total`, cut into pieces that are multiples of `unit` and about `perMember` for each member.
    func phase(_ total: Int, unit: Int, perMember: Int, _ body: (Range<Int>) -> Void) {
      let units = (total + unit - 1) / unit
      let length = max(1, units / (count * perMember)) * unit
      phase((total + length - 1) / length) { body($0 * length..<min(total, ($0 + 1) * length)) }
    }
  }

  let count: Int
  /// The current phase in the upper half, the next piece of it in the lower.
  private let ticket = Atomic<UInt64>(0)
  /// Pieces of the current phase that are done.
  private let done = Atomic<UInt64>(0)
  /// Members that have left the work.
  private let left = Atomic<Int>(0)
  private let generation = Atomic<Int>(0)
  private let stopping = Atomic<Bool>(false)
  private var work: ((Member) -> Void)?
  private var threads: [pthread_t] = []
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  /// Turns of the waiting loop before the core is given away: tens of microseconds, several times a usual wait.
  private static let spins = 500

  /// - Parameter count: threads, the caller's included: 1 or more. Fewer are used if the system refuses to make them.
  init(count wanted: Int) {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
    // Threads hold what they need of the team, not the team: it can be freed, and then stops them.
    var boxes: [Box] = []
    for index in 1..<max(wanted, 1) { boxes.append(Box(index: index)) }
    var started: [(box: Box, thread: pthread_t)] = []
    for box in boxes {
      guard let thread = box.start() else { break }
      started.append((box, thread))
    }
    count = started.count + 1
    threads = started.map(\.thread)
    for (box, _) in started { box.give(Unmanaged.passUnretained(self)) }
  }

  deinit {
    stopping.store(true, ordering: .releasing)
    wake()
    for thread in threads { pthread_join(thread, nil) }
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  /// Runs `body` on every member at once and returns when all are done. The caller is member 0.
  /// - Parameter alone: whether the caller does everything: meeting costs microseconds, which little work does not repay.
  func run(alone: Bool = false, _ body: (Member) -> Void) {
    guard count > 1, !alone else { return body(Member(index: 0, count: 1, team: self)) }
    withoutActuallyEscaping(body) { body in
      work = body
      ticket.store(0, ordering: .relaxed)
      done.store(0, ordering: .relaxed)
      left.store(0, ordering: .relaxed)
      wake()
      body(Member(index: 0, count: count, team: self))
      wait { self.left.load(ordering: .acquiring) == self.count - 1 }
      work = nil
    }
  }

  private func wake() {
    pthread_mutex_lock(mutex)
    generation.add(1, ordering: .releasing)
    pthread_cond_broadcast(condition)
    pthread_mutex_unlock(mutex)
  }

  fileprivate func serve(index: Int) {
    var seen = 0
    while true {
      var spins = 0
      while generation.load(ordering: .acquiring) == seen {
        spins += 1
        if spins < Self.spins {
          ternary_pause()
          continue
        }
        pthread_mutex_lock(mutex)
        while generation.load(ordering: .acquiring) == seen { pthread_cond_wait(condition, mutex) }
        pthread_mutex_unlock(mutex)
      }
      seen += 1
      if stopping.load(ordering: .acquiring) { return }
      work!(Member(index: index, count: count, team: self))
      left.add(1, ordering: .releasing)
    }
  }

  private func deal(_ phase: UInt64, _ pieces: UInt64, _ body: (Int) -> Void) {
    while true {
      let now = ticket.load(ordering: .acquiring)
      guard now >> 32 == phase else { return }  // the others have finished it
      let piece = now & 0xFFFF_FFFF
      guard piece < pieces else {
        wait { self.ticket.load(ordering: .acquiring) >> 32 != phase }
        return
      }
      // Compare and exchange, not add: a member that comes late must not take a piece of a later phase.
      guard ticket.weakCompareExchange(expected: now, desired: now + 1, ordering: .acquiringAndReleasing).exchanged else { continue }
      body(Int(piece))
      if done.add(1, ordering: .acquiringAndReleasing).newValue == pieces {
        done.store(0, ordering: .relaxed)
        ticket.store((phase + 1) << 32, ordering: .releasing)
        return
      }
    }
  }

  @inline(__always)
  private func wait(until condition: () -> Bool) {
    var spins = 0
    while !condition() {
      spins += 1
      if spins < Self.spins { ternary_pause() } else { sched_yield() }
    }
  }
}

/// Carries a thread's index, and then its team, into the thread.
private final class Box: @unchecked Sendable {
  // Unchecked: `team` is written once, before `isReady` is set, and read after.
  private let index: Int
  private var team: Unmanaged<ThreadTeam>?
  private let isReady = Atomic<Bool>(false)

  init(index: Int) { self.index = index }

  func start() -> pthread_t? {
    let argument = Unmanaged.passRetained(self)
    #if canImport(Darwin)
      var thread: pthread_t?
    #else
      var thread = pthread_t()
    #endif
    let status = pthread_create(&thread, nil, boxMain, argument.toOpaque())
    guard status == 0 else {
      argument.release()
      return nil
    }
    return thread
  }

  func give(_ team: Unmanaged<ThreadTeam>) {
    self.team = team
    isReady.store(true, ordering: .releasing)
  }

  func run() {
    while !isReady.load(ordering: .acquiring) { sched_yield() }
    // The team outlives its threads: its deinit waits for them.
    team!._withUnsafeGuaranteedRef { $0.serve(index: index) }
  }
}

#if canImport(Darwin)
  private func boxMain(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().run()
    return nil
  }
#else
  private func boxMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    Unmanaged<Box>.fromOpaque(argument!).takeRetainedValue().run()
    return nil
  }
#endif
