import BitNetCUDADriver
import CBitNetCUDAKernels
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The tokens that samplers send to the host through pinned memory, one message for each output and round.
final class TokenMessages {
  /// The outputs whose messages can be under way together.
  static let capacity = 64
  /// `[roundCount][capacity]`: a round in the upper half, a token in the lower.
  private let memory: CUDAHostBuffer
  private static let roundCount = 64
  /// Rounds that each output has sent, counted by the sampler: `[capacity]`.
  private let sent: CUDABuffer
  /// Rounds that each output has been asked for.
  private var asked = [UInt32](repeating: 0, count: capacity)
  /// Where blocks that wait too long for the others say so: StallRecord `[stallRecords]`, zero until then.
  let stalls: CUDAHostBuffer
  private let library: KernelLibrary
  private let layers: Int

  /// How long a step may take. Blocks give up waiting for each other after a few seconds, so that only a kernel that
  /// never ends takes longer, or the compilation of one that is used for the first time.
  private static let patience = Duration.seconds(60)

  init(_ library: KernelLibrary, layers: Int) throws(CUDAError) {
    let context = library.context
    self.library = library
    self.layers = layers
    memory = try CUDAHostBuffer(context, byteCount: 8 * Self.roundCount * Self.capacity)
    memory.bytes.initializeMemory(as: UInt8.self, repeating: 0)
    sent = try CUDABuffer(context, byteCount: 4 * Self.capacity)
    try sent.fill(byte: 0)
    stalls = try CUDAHostBuffer(context, byteCount: Int(stallRecords) * MemoryLayout<StallRecord>.stride)
    stalls.bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  /// Where a sampler sends the tokens of outputs from `first` on.
  func delivery(from first: Int) -> Delivery {
    Delivery(
      messages: memory.deviceAddress + UInt64(8 * first), rounds: sent.address + UInt64(4 * first),
      messageRounds: Int32(Self.roundCount), outputs: Int32(Self.capacity))
  }

  /// The rounds of messages that samplers of `count` outputs, launched just now, will send.
  func next(_ count: Int) -> [UInt32] {
    for output in 0..<count { asked[output] &+= 1 }
    return Array(asked[..<count])
  }

  /// Waits until these rounds of messages have arrived, one for each output, and reads their tokens.
  func wait(for rounds: [UInt32]) throws(CUDAError) -> [Int32] {
    let messages = memory.bytes.baseAddress!.assumingMemoryBound(to: Atomic<UInt64>.self)
    let start = ContinuousClock.now
    return try rounds.enumerated().map { (output, round) throws(CUDAError) in
      let place = messages + Int(round) % Self.roundCount * Self.capacity + output
      var spins = 0
      while true {
        let message = place.pointee.load(ordering: .acquiring)
        if UInt32(truncatingIfNeeded: message >> 32) == round { return Int32(truncatingIfNeeded: message) }
        spins += 1
        guard spins % 1024 == 0 else { continue }
        // A step takes some hundred microseconds: a wait of milliseconds has another reason and should not burn a core.
        if spins > 256 << 10 { usleep(50) }
        // A failed launch sends nothing: the stream then reports the reason.
        if try isIdle(), UInt32(truncatingIfNeeded: place.pointee.load(ordering: .acquiring) >> 32) != round {
          throw CUDAError.parameter(
            name: "the sampler's message", found: "missing", expected: "a token for output \(output)")
        }
        if !library.context.device.isEmulated, start.duration(to: .now) > Self.patience {
          throw CUDAError.stalled(
            kernel: "of a step", place: stallReport?.description ?? "no token for output \(output) in \(Self.patience)")
        }
      }
    }
  }

  /// Whether the stream has done all its work. Throws where blocks of a launch waited in vain for each other.
  private func isIdle() throws(CUDAError) -> Bool {
    do {
      return try library.stream.isIdle()
    } catch {
      guard let report = stallReport else { throw error }
      throw CUDAError.stalled(kernel: "of the decode step", place: report.description)
    }
  }

  private var stallReport: StallReport? { StallReport(UnsafeRawBufferPointer(stalls.bytes), layers: layers) }
}
