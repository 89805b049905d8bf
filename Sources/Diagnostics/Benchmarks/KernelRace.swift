import BitNetCUDADriver

/// Times launches of several contenders in turn, so that changes of the device's clock and heat affect all of them
/// alike.
final class KernelRace {
  /// A kernel that is launched repeatedly.
  struct Contender {
    /// The number of copies of its data that the launches cycle through.
    let copyCount: Int
    let launch: (_ copy: Int) throws(CUDAError) -> Void
  }

  /// The extent of a measurement.
  struct Effort {
    /// The number of samples of each contender; the lower bound applies even if they exceed `totalSeconds`.
    let samples: ClosedRange<Int>
    /// The time of one sample, and of all samples of a contender, in seconds.
    let sampleSeconds: Double
    let totalSeconds: Double
    /// The time before the first sample, in which the device's clock rises.
    let warmUp: Duration

    static let full = Effort(samples: 5...30, sampleSeconds: 0.002, totalSeconds: 1, warmUp: .milliseconds(30))
    static let quick = Effort(samples: 3...7, sampleSeconds: 0.0005, totalSeconds: 0.1, warmUp: .milliseconds(5))
    /// For a device whose times mean nothing.
    static let emulated = Effort(samples: 2...2, sampleSeconds: 0, totalSeconds: 0, warmUp: .zero)
  }

  let stream: CUDAStream
  private let effort: Effort
  private let start: CUDAEvent
  private let end: CUDAEvent

  private static let launchLimit = 1 << 16

  init(_ stream: CUDAStream, effort: Effort) throws(CUDAError) {
    self.stream = stream
    self.effort = effort
    start = try CUDAEvent(stream.context)
    end = try CUDAEvent(stream.context)
  }

  /// The time of one launch in seconds, for each contender and sample.
  func run(_ contenders: [Contender]) throws(CUDAError) -> [[Double]] {
    var graphs: [(graph: CUDAGraph, launches: Int)] = []
    var longest = 0.0
    for contender in contenders {
      let (graph, launches, seconds) = try record(contender)
      graphs.append((graph, launches))
      longest = max(longest, seconds)
    }
    let clock = ContinuousClock()
    let begin = clock.now
    repeat {
      for (graph, _) in graphs { try graph.launch(on: stream) }
      try stream.synchronize()
    } while clock.now - begin < effort.warmUp

    // A sample takes twice the time of its graph, because `seconds` runs it twice.
    let affordable = Int(min(effort.totalSeconds / max(2 * longest, 1e-9), Double(effort.samples.upperBound)))
    var samples: [[Double]] = Array(repeating: [], count: graphs.count)
    for _ in 0..<max(effort.samples.lowerBound, affordable) {
      for (index, (graph, launches)) in graphs.enumerated() {
        samples[index].append(try seconds { () throws(CUDAError) in try graph.launch(on: stream) } / Double(launches))
      }
    }
    return samples
  }

  /// Records a graph of whole cycles through the copies that takes about as long as a sample should.
  private func record(_ contender: Contender) throws(CUDAError) -> (graph: CUDAGraph, launches: Int, seconds: Double) {
    // The first launch loads the code, which must not happen while a graph is recorded.
    let one = try seconds { () throws(CUDAError) in try contender.launch(0) }
    let wanted = max(1, min(Int(effort.sampleSeconds / max(one, 1e-7)), Self.launchLimit))
    let rotations = (wanted + contender.copyCount - 1) / contender.copyCount
    let launches = rotations * contender.copyCount
    let graph = try stream.capture { () throws(CUDAError) in
      for launch in 0..<launches { try contender.launch(launch % contender.copyCount) }
    }
    return (graph, launches, one * Double(launches))
  }

  /// The time of some work in seconds. The work is submitted twice, and the second run is timed: the device is still
  /// busy with the first run while the host submits the second, so the host's time is not measured.
  private func seconds(of work: () throws(CUDAError) -> Void) throws(CUDAError) -> Double {
    try work()
    try start.record(on: stream)
    try work()
    try end.record(on: stream)
    try end.synchronize()
    return try end.seconds(since: start)
  }
}
