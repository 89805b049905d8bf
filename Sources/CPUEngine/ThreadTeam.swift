import CBitNetTernary
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
/// A forward pass is hundreds of short phases. Each member starts with its own share of a phase's pieces, the same
/// neighbours every time, so that it reads one stream of memory, and memory that it wrote first; then it takes pieces
/// that others have left. A phase ends when all its pieces are done, not when all members have arrived: a descheduled
/// member delays the others only while it holds a piece. Members spin for some microseconds, then yield; between steps
/// they sleep.
package final class ThreadTeam: @unchecked Sendable {
  // Unchecked: `work` is written only while every other thread waits for `generation` to change.

  /// One thread's way through the phases. Every member calls the same phases in the same order.
  package final class Member {
    package let index: Int
    package let count: Int
    private let team: ThreadTeam
    private var phase: UInt64 = 1
    /// The rest of the memory that this member fetches while it waits.
    fileprivate var ahead = UnsafeRawBufferPointer(start: nil, count: 0)

    fileprivate init(index: Int, count: Int, team: ThreadTeam) {
      self.index = index
      self.count = count
      self.team = team
    }

    /// A phase: runs `body` once for each piece in `0..<pieces`, on whichever member is free; returns when all are
    /// done.
    /// - Parameter pieces: fewer than 2^20.
    package func phase(_ pieces: Int, _ body: (Int) -> Void) {
      guard pieces > 0 else { return }
      precondition(pieces < 1 << 20, "a phase has at most 2^20 - 1 pieces")
      guard count > 1 else {
        for piece in 0..<pieces { body(piece) }
        return
      }
      team.work(phase, pieces, self, body)
      phase += 1
    }

    /// A phase over `0..<total`, cut into pieces that are multiples of `unit` and about `perMember` for each member.
    package func phase(_ total: Int, unit: Int, perMember: Int, _ body: (Range<Int>) -> Void) {
      let length = length(ofPieces: total, unit: unit, perMember: perMember)
      phase((total + length - 1) / length) { body($0 * length..<min(total, ($0 + 1) * length)) }
    }

    private func length(ofPieces total: Int, unit: Int, perMember: Int) -> Int {
      let units = (total + unit - 1) / unit
      return max(1, units / (count * perMember)) * unit
    }

    /// Where in `0...total` this member's own share of such a phase starts.
    package func shareStart(_ total: Int, unit: Int, perMember: Int) -> Int {
      let length = length(ofPieces: total, unit: unit, perMember: perMember)
      return min(total, firstPiece(of: (total + length - 1) / length) * length)
    }

    /// The piece with which this member starts a phase of so many.
    package func firstPiece(of pieces: Int) -> Int { Share.first(of: count, member: index, pieces: pieces) }

    /// Names memory that this member will read in a later phase. While the member waits for others it fetches the start
    /// of that memory into its cache, so that the memory bus does not idle.
    package func fetchWhileWaiting(_ bytes: UnsafeRawBufferPointer) {
      ahead = UnsafeRawBufferPointer(rebasing: bytes.prefix(Self.fetchedAhead))
    }

    /// Half of the smallest second-level caches.
    private static let fetchedAhead = 128 << 10

    fileprivate func fetch() {
      let count = min(256, ahead.count)
      ternary_fetch(ahead.baseAddress!, count)
      ahead = UnsafeRawBufferPointer(rebasing: ahead.dropFirst(count))
    }
  }

  package let count: Int
  /// The phase that is being worked on, from 1 in each run.
  private let current = Atomic<UInt64>(0)
  /// Pieces of that phase that are done.
  private let done = Atomic<Int>(0)
  /// The rest of each member's share, `Share.spacing` apart.
  private let shares: UnsafeMutablePointer<Atomic<UInt64>>
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
  package init(count wanted: Int) {
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
    // Threads do not retain the team, so that it can be freed and then stops them.
    var boxes: [Box] = []
    for index in 1..<max(wanted, 1) {
      boxes.append(Box(index: index, processors: Processors.current.processors(ofThread: index, of: wanted)))
    }
    var started: [(box: Box, thread: pthread_t)] = []
    for box in boxes {
      guard let thread = box.start() else { break }
      started.append((box, thread))
    }
    count = started.count + 1
    shares = .allocate(capacity: count * Share.spacing)
    for index in 0..<count * Share.spacing { (shares + index).initialize(to: Atomic(0)) }
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
    shares.deinitialize(count: count * Share.spacing)
    shares.deallocate()
  }

  /// Runs `body` on every member at once and returns when all are done. The caller is member 0.
  /// - Parameter alone: whether the caller does everything: for little work, the barriers' microseconds cost more than
  ///   the other threads save.
  package func run(alone: Bool = false, _ body: (Member) -> Void) {
    guard count > 1, !alone else { return body(Member(index: 0, count: 1, team: self)) }
    withoutActuallyEscaping(body) { body in
      work = body
      current.store(1, ordering: .relaxed)
      done.store(0, ordering: .relaxed)
      for member in 0..<count { shares[member * Share.spacing].store(0, ordering: .relaxed) }
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

  /// A member's share of a phase, in one word that is changed as a whole: the phase, and the pieces not yet taken.
  private struct Share {
    var phase: UInt64
    var pieces: Range<UInt64>

    /// Words between two members' shares: two cache lines, which processors fetch together.
    static let spacing = 16

    init(phase: UInt64, of count: Int, member: Int, pieces: Int) {
      self.phase = phase
      self.pieces =
        UInt64(
          Self.first(of: count, member: member, pieces: pieces))..<UInt64(
          Self.first(of: count, member: member + 1, pieces: pieces))
    }

    static func first(of count: Int, member: Int, pieces: Int) -> Int { (pieces * member + count - 1) / count }

    init(_ word: UInt64) {
      phase = word >> 40
      pieces = (word >> 20 & 0xFFFFF)..<(word & 0xFFFFF)
    }

    var word: UInt64 { phase << 40 | pieces.lowerBound << 20 | pieces.upperBound }
  }

  /// Takes a piece of a member's share: the first one for the member itself, the last one for others.
  ///
  /// Compare and exchange, with the phase in the word: a late member cannot take a piece of a later phase.
  private func take(_ phase: UInt64, _ pieces: Int, from owner: Int, isOwn: Bool) -> Int? {
    let place = shares + owner * Share.spacing
    var word = place.pointee.load(ordering: .acquiring)
    while true {
      var share = Share(word)
      guard share.phase <= phase else { return nil }
      // The first member to look at a share in a phase fills it.
      if share.phase < phase { share = Share(phase: phase, of: count, member: owner, pieces: pieces) }
      guard !share.pieces.isEmpty else { return nil }
      let (first, last) = (share.pieces.lowerBound, share.pieces.upperBound - 1)
      share.pieces = isOwn ? first + 1..<last + 1 : first..<last
      let result = place.pointee.weakCompareExchange(
        expected: word, desired: share.word, ordering: .acquiringAndReleasing)
      if result.exchanged { return Int(isOwn ? first : last) }
      word = result.original
    }
  }

  private func work(_ phase: UInt64, _ pieces: Int, _ member: Member, _ body: (Int) -> Void) {
    let index = member.index
    for distance in 0..<count {
      while let piece = take(phase, pieces, from: (index + distance) % count, isOwn: distance == 0) {
        body(piece)
        if done.add(1, ordering: .acquiringAndReleasing).newValue == pieces {
          done.store(0, ordering: .relaxed)
          current.store(phase + 1, ordering: .releasing)
          return
        }
      }
      if current.load(ordering: .acquiring) != phase { return }  // the others have finished it
    }
    while !member.ahead.isEmpty {
      if current.load(ordering: .acquiring) != phase { return }
      member.fetch()
    }
    wait { self.current.load(ordering: .acquiring) != phase }
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

/// Carries a thread's index and processors, and then its team, into the thread.
private final class Box: @unchecked Sendable {
  // Unchecked: `team` is written once, before `isReady` is set, and read after.
  private let index: Int
  /// The processors that the thread is kept on; nil for any.
  private let processors: [Int]?
  private var team: Unmanaged<ThreadTeam>?
  private let isReady = Atomic<Bool>(false)

  init(index: Int, processors: [Int]?) {
    self.index = index
    self.processors = processors
  }

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
    if let processors { Processors.bindThread(to: processors) }
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
