import BitNetServing
import Synchronization

/// What happened to the requests of one model. The names are vLLM's.
package final class ModelMetrics: Sendable {
  let promptTokens = Counter()
  let generatedTokens = Counter()
  let cachedTokens = Counter()
  let rejections = Counter()
  let successes: [(reason: String, counter: Counter)] = ["stop", "length", "abort", "error"].map { ($0, Counter()) }

  let timeToFirstToken = Histogram(latencies)
  let interTokenLatency = Histogram(tokenTimes)
  let timePerOutputToken = Histogram(tokenTimes)
  let latency = Histogram(requestTimes)
  let queueTime = Histogram(requestTimes)
  let prefillTime = Histogram(requestTimes)
  let decodeTime = Histogram(requestTimes)
  let inferenceTime = Histogram(requestTimes)
  let promptLength = Histogram(lengths)
  let computedLength = Histogram(lengths)
  let generationLength = Histogram(lengths)
  let longestGeneration = Histogram(lengths)
  let mostTokens = Histogram(lengths)
  let choiceCount = Histogram([1, 2, 5, 10, 20])

  init() {}

  private static let latencies = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
  ]
  private static let tokenTimes = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  ]
  private static let requestTimes = [
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
  ]
  private static let lengths: [Double] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000,
  ]

  func count(_ reason: String) { successes.first { $0.reason == reason }?.counter.add() }
}

/// What happened to the requests of a server.
package final class ServerMetrics: Sendable {
  private struct Handler {
    let durations = Histogram([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60])
    var statuses: [Int: Int] = [:]
  }

  private let handlers = Mutex<[[String]: Handler]>([:])

  package init() {}

  /// Counts a response.
  ///
  /// - Parameters:
  ///   - route: the route's path; nil for a request of an unknown one.
  ///   - seconds: the time from the request's head to the response's end.
  package func count(_ method: String, _ route: String?, status: Int, seconds: Double) {
    let methods = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"]
    handlers.withLock { handlers in
      // A client chooses its methods and paths, and must not fill the memory with them.
      var handler = handlers[[methods.contains(method) ? method : "other", route ?? "none"], default: Handler()]
      handler.statuses[status, default: 0] += 1
      handler.durations.observe(seconds)
      handlers[[methods.contains(method) ? method : "other", route ?? "none"]] = handler
    }
  }

  /// The responses as Prometheus reads them.
  package var text: String {
    var text = PrometheusText()
    write(to: &text)
    return text.text
  }

  func write(to text: inout PrometheusText) {
    let all = handlers.withLock { $0 }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
    text.begin("http_requests_total", "counter", "Responses by route, method and status.")
    for (key, handler) in all {
      for (status, count) in handler.statuses.sorted(by: { $0.key < $1.key }) {
        text.sample(
          "http_requests_total", [("handler", key[1]), ("method", key[0]), ("status", "\(status)")], Double(count))
      }
    }
    text.begin("http_request_duration_seconds", "histogram", "Time from a request's head to its response's end.")
    for (key, handler) in all {
      text.histogram(
        "http_request_duration_seconds", [("handler", key[1]), ("method", key[0])], handler.durations)
    }
  }
}
