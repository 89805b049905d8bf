import Synchronization

/// A number that only grows.
final class Counter: Sendable {
  private let value = Atomic<Int>(0)

  func add(_ amount: Int = 1) { value.add(amount, ordering: .relaxed) }

  var total: Int { value.load(ordering: .relaxed) }
}

/// How often values fell into ranges.
final class Histogram: Sendable {
  private struct State {
    var counts: [Int]
    var sum = 0.0
  }

  /// The largest values of the ranges, ascending; a last range takes the rest.
  let bounds: [Double]
  private let state: Mutex<State>

  init(_ bounds: [Double]) {
    self.bounds = bounds
    state = Mutex(State(counts: [Int](repeating: 0, count: bounds.count + 1)))
  }

  func observe(_ value: Double) {
    let place = bounds.firstIndex { value <= $0 } ?? bounds.count
    state.withLock { state in
      state.counts[place] += 1
      state.sum += value
    }
  }

  /// How many values fell into each range, the last one included; the sum of all values.
  var snapshot: (counts: [Int], sum: Double) { state.withLock { ($0.counts, $0.sum) } }
}

/// Text in the format of Prometheus, version 0.0.4.
struct PrometheusText {
  private(set) var text = ""

  /// Begins a metric; its samples follow.
  mutating func begin(_ name: String, _ type: String, _ help: String) {
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
  }

  mutating func sample(_ name: String, _ labels: [(String, String)], _ value: Double) {
    text += name
    if !labels.isEmpty {
      text += "{" + labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",") + "}"
    }
    text += " \(Self.number(value))\n"
  }

  mutating func histogram(_ name: String, _ labels: [(String, String)], _ histogram: Histogram) {
    let (counts, sum) = histogram.snapshot
    self.histogram(name, labels, bounds: histogram.bounds, counts: counts, sum: sum)
  }

  /// - Parameters:
  ///   - bounds: the largest values of the ranges, ascending.
  ///   - counts: the values in each range and, last, above all bounds.
  ///   - sum: of all values.
  mutating func histogram(
    _ name: String, _ labels: [(String, String)], bounds: [Double], counts: [Int], sum: Double
  ) {
    var total = 0
    for (bound, count) in zip(bounds.map(Self.number) + ["+Inf"], counts) {
      total += count
      sample(name + "_bucket", labels + [("le", bound)], Double(total))
    }
    sample(name + "_count", labels, Double(total))
    sample(name + "_sum", labels, sum)
  }

  private static func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? "\(Int(value))" : "\(value)"
  }

  private static func escaped(_ text: String) -> String {
    text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
  }
}
