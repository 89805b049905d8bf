/// The times of one request.
package struct LoadSample: Sendable {
  package var target: Int
  /// Seconds from the request to the first text.
  package var firstToken: Double
  /// Seconds from one piece of text to the next.
  package var gaps: [Double]
  /// Seconds from the request to the end of the answer.
  package var total: Double
  package var promptTokens: Int
  package var tokens: Int

  package init(
    target: Int, firstToken: Double, gaps: [Double], total: Double, promptTokens: Int, tokens: Int
  ) {
    self.target = target
    self.firstToken = firstToken
    self.gaps = gaps
    self.total = total
    self.promptTokens = promptTokens
    self.tokens = tokens
  }
}

/// The result of one number of clients.
package struct LoadResult: Encodable, Sendable {
  /// Seconds: the median and others.
  package struct Times: Encodable, Sendable {
    package let median: Double
    package let percentile90: Double
    package let percentile99: Double
    package let maximum: Double

    /// - Parameter values: one or more.
    init(_ values: [Double]) {
      let sorted = values.sorted()
      /// The smallest value that at least that share of the values does not exceed.
      func percentile(_ share: Double) -> Double {
        sorted[max(0, min(sorted.count, Int((share * Double(sorted.count)).rounded(.up))) - 1)]
      }
      (median, percentile90) = (percentile(0.5), percentile(0.9))
      (percentile99, maximum) = (percentile(0.99), sorted[sorted.count - 1])
    }
  }

  package struct Target: Encodable, Sendable {
    package let url: String
    package let requests: Int
    package let tokensPerSecond: Double
  }

  package let clients: Int
  package let requests: Int
  package let failures: Int
  /// The sentence of the first failure.
  package let firstFailure: String?
  /// Seconds from the first request to the end of the last answer.
  package let seconds: Double
  package let promptTokens: Int
  package let tokens: Int
  /// Generated tokens of all targets together.
  package let tokensPerSecond: Double
  package let requestsPerSecond: Double
  /// Nil if no request was answered.
  package let firstToken: Times?
  /// Nil if no answer came in two pieces or more.
  package let betweenTokens: Times?
  package let request: Times?
  package let targets: [Target]
  /// How much more than the mean the busiest target generated; 0 if all did the same.
  package let imbalance: Double

  package init(clients: Int, samples: [LoadSample], failures: [String], seconds: Double, urls: [String]) {
    self.clients = clients
    requests = samples.count
    self.failures = failures.count
    firstFailure = failures.first
    self.seconds = seconds
    promptTokens = samples.reduce(0) { $0 + $1.promptTokens }
    let tokens = samples.reduce(0) { $0 + $1.tokens }
    self.tokens = tokens
    tokensPerSecond = Double(tokens) / seconds
    requestsPerSecond = Double(samples.count) / seconds
    let gaps = samples.flatMap(\.gaps)
    firstToken = samples.isEmpty ? nil : Times(samples.map(\.firstToken))
    betweenTokens = gaps.isEmpty ? nil : Times(gaps)
    request = samples.isEmpty ? nil : Times(samples.map(\.total))
    let byTarget = urls.indices.map { index in samples.filter { $0.target == index } }
    let rates = byTarget.map { Double($0.reduce(0) { $0 + $1.tokens }) / seconds }
    targets = urls.indices.map { Target(url: urls[$0], requests: byTarget[$0].count, tokensPerSecond: rates[$0]) }
    imbalance = tokens == 0 ? 0 : rates.max()! * Double(urls.count) / rates.reduce(0, +) - 1
  }
}
