import BitNetInference

/// A bar chart of the latencies of the smallest batch, as an SVG file that follows the viewer's light or dark scheme.
struct BenchPlot {
  private let machine: BenchReport.Machine
  private let results: [BenchReport.Result]
  private let tokens: Int

  private static let width = 800.0
  private static let labelWidth = 120.0
  private static let barWidth = 520.0
  private static let barHeight = 14.0

  init(_ report: BenchReport) {
    machine = report.machine
    tokens = report.results.map(\.tokens).min() ?? 1
    results = report.results.filter { [tokens] in $0.tokens == tokens }
  }

  var svg: String {
    let hasBF16 = results.contains { $0.bf16 != nil }
    let rowHeight = Self.barHeight * (hasBF16 ? 2 : 1) + 14
    let height = 84 + rowHeight * Double(results.count) + 12
    let longest = results.map { max($0.w2a8.cold.median, $0.bf16?.cold.median ?? 0) }.max() ?? 1
    var body = ""

    func text(_ content: String, x: Double, y: Double, style: String = "") {
      body += "  <text x=\"\(x.decimals(1))\" y=\"\(y.decimals(1))\"\(style)>\(Self.escaped(content))</text>\n"
    }
    func bar(_ kind: String, x: Double, y: Double, width: Double) {
      body +=
        "  <rect class=\"\(kind)\" x=\"\(x.decimals(1))\" y=\"\(y.decimals(1))\" "
      body += "width=\"\(max(width, 1).decimals(1))\" "
      body += "height=\"\((Self.barHeight - 2).decimals(1))\" rx=\"2\"/>\n"
    }

    text(
      "Latency of one product, weights from memory, \(plural(tokens, "token"))", x: 16, y: 26, style: " class=\"title\""
    )
    text("\(machine.device), \(machine.name)" + (machine.emulated ? ": the times mean nothing" : ""), x: 16, y: 46)
    bar("w2a8", x: 16, y: 58, width: 12)
    text("W2A8", x: 34, y: 68)
    if hasBF16 {
      bar("bf16", x: 96, y: 58, width: 12)
      text("BF16, \(machine.bf16Library ?? "")", x: 114, y: 68)
    }
    for (index, result) in results.enumerated() {
      let top = 84 + rowHeight * Double(index)
      text(result.shape, x: Self.labelWidth - 8, y: top + 11, style: " text-anchor=\"end\"")
      for (place, (kind, times)) in [("w2a8", result.w2a8.cold), ("bf16", result.bf16?.cold)].enumerated() {
        guard let times else { continue }
        let (y, length) = (top + Self.barHeight * Double(place), times.median / longest * Self.barWidth)
        bar(kind, x: Self.labelWidth, y: y, width: length)
        let label = "\((times.median * 1e6).shortened) µs"
        let note = place == 0 ? result.speedup.map { ", \($0.decimals(2))× as fast" } ?? "" : ""
        text(label + note, x: Self.labelWidth + length + 6, y: y + 10.5)
      }
    }
    return """
      <svg xmlns="http://www.w3.org/2000/svg" width="\(Self.width.decimals(0))" height="\(height.decimals(0))" \
      viewBox="0 0 \(Self.width.decimals(0)) \(height.decimals(0))">
        <style>
          text { font: 12px system-ui, sans-serif; fill: #24292f; }
          .title { font-size: 15px; font-weight: 600; }
          .ground { fill: #ffffff; }
          .w2a8 { fill: #0969da; }
          .bf16 { fill: #9aa4ae; }
          @media (prefers-color-scheme: dark) {
            text { fill: #e6edf3; }
            .ground { fill: #0d1117; }
            .w2a8 { fill: #4493f8; }
            .bf16 { fill: #656c76; }
          }
        </style>
        <rect class="ground" width="100%" height="100%"/>
      \(body)</svg>

      """
  }

  private static func escaped(_ text: String) -> String {
    var escaped = ""
    for character in text {
      switch character {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      default: escaped.append(character)
      }
    }
    return escaped
  }
}
