import BitNetRandomModels
import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetInference
import BitNetModelFiles
import BitNetTokenization
import TestSupport
import Testing

@Suite("Stop texts")
struct StopMatcherTests {
  @Test("are found wherever the text is cut into pieces", arguments: 1...200)
  func cuts(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed))
    let letters = Array("aab\n é😀")
    func word(_ range: ClosedRange<Int>) -> String {
      String((0..<Int.random(in: range, using: &generator)).map { _ in letters.randomElement(using: &generator)! })
    }
    let text = word(0...40)
    let stops = (0..<Int.random(in: 0...3, using: &generator)).map { _ in word(0...4) }
    let ends = stops.filter { !$0.isEmpty }.compactMap { stop in text.utf8.firstIndex(of: stop) }
    let expected = ends.min().map { String(decoding: Array(text.utf8)[..<$0], as: UTF8.self) } ?? text

    var matcher = StopMatcher(stops)
    var found = ""
    var hasStopped = false
    var rest = Substring(text)
    while !rest.isEmpty {
      let piece = rest.prefix(Int.random(in: 1...5, using: &generator))
      rest = rest.dropFirst(piece.count)
      let (text, stopped) = matcher.append(String(piece))
      found += text
      hasStopped = hasStopped || stopped
    }
    found += matcher.finish()
    #expect(found.utf8.elementsEqual(expected.utf8), "\(text.debugDescription) with \(stops)")
    #expect(hasStopped == !ends.isEmpty)
  }
}

extension String.UTF8View {
  fileprivate func firstIndex(of other: String) -> Int? {
    let (text, pattern) = (Array(self), Array(other.utf8))
    guard text.count >= pattern.count else { return nil }
    return (0...text.count - pattern.count).first { text[$0..<$0 + pattern.count].elementsEqual(pattern) }
  }
}
