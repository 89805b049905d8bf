import BitNetCUDAEngine

/// The time of each phase of one decode step: medians and maxima over blocks and layers.
struct BenchModelTrace: Encodable {
  struct Part: Encodable {
    let name: String
    let medianMicroseconds: Double
    let maximumMicroseconds: Double
  }
  struct Phase: Encodable {
    let name: String
    let parts: [Part]
  }

  let depth: Int
  /// The time of all layers, without the LM head.
  let layersMicroseconds: Double
  let clocksPerMicrosecond: Double
  let phases: [Phase]

  /// The number of steps that are run. The last one is traced.
  static let steps = 8

  init(_ trace: DecodeTrace, depth: Int) {
    self.depth = depth
    layersMicroseconds = trace.seconds * 1e6
    clocksPerMicrosecond = trace.clocksPerMicrosecond
    phases = trace.phases.map { phase in
      Phase(
        name: phase.name,
        parts: phase.parts.map {
          .init(name: $0.part.rawValue, medianMicroseconds: $0.median, maximumMicroseconds: $0.maximum)
        })
    }
  }

  /// A table with a row for each phase: median and maximum of each part, in microseconds.
  var text: String {
    let time = layersMicroseconds.decimals(0)
    var text = "layers of a step at depth \(depth): \(time) µs; medians and maxima over blocks and layers, in µs\n"
    let columns = TableColumns([.right(18)] + phases[0].parts.map { _ in .right(14) })
    text += columns.row([""] + phases[0].parts.map(\.name))
    for phase in phases {
      let cells = phase.parts.map { "\($0.medianMicroseconds.decimals(2)) / \($0.maximumMicroseconds.decimals(2))" }
      text += columns.row([phase.name] + cells)
    }
    return text
  }
}
