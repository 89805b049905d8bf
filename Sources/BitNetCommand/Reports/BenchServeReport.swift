import BitNetLoadClient

/// The results of `bench serve` as a table.
enum BenchServeReport {
  private static let columns = TableColumns([
    .right(7), .right(8), .right(9), .right(8), .right(20), .right(20), .right(20), .right(6),
  ])

  static func head(_ urls: [String], words: Int, tokens: Int) -> String {
    "\(urls.joined(separator: ", ")): prompts of \(words) words, answers of \(tokens) tokens; times in ms are the\n"
      + "median, the 90th and the 99th percentile\n"
      + columns.row([
        "clients", "requests", "tokens/s", "req/s", "to the first token", "between tokens", "request", "failed",
      ])
  }

  /// A row, and further lines for several targets and for failures.
  static func lines(_ result: LoadResult) -> String {
    var text = columns.row([
      "\(result.clients)", "\(result.requests)", result.tokensPerSecond.decimals(1),
      result.requestsPerSecond.decimals(2), times(result.firstToken), times(result.betweenTokens),
      times(result.request), "\(result.failures)",
    ])
    if result.targets.count > 1 {
      let rates = result.targets.map { "\($0.url) \($0.tokensPerSecond.decimals(1)) tokens/s" }
      text += "  \(rates.joined(separator: ", ")); imbalance \((result.imbalance * 100).decimals(1)) %\n"
    }
    if let failure = result.firstFailure { text += "  first failure: \(failure)\n" }
    return text
  }

  private static func times(_ times: LoadResult.Times?) -> String {
    guard let times else { return "–" }
    return [times.median, times.percentile90, times.percentile99].map { ($0 * 1000).shortened }
      .joined(separator: " / ")
  }
}
