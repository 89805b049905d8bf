import BitNetTernary
import Testing

@Suite("The quantisers")
struct QuantizerTests {
  @Test("give the reference implementation's codes and scales for activations")
  func activationsMatchTheReference() throws {
    let fixture = try BlockFixture("activation_quant")
    let shape = fixture.shape("x")
    let (x, expectedCodes, expectedScales) = (fixture.float32("x"), fixture.int8("q"), fixture.float32("s"))
    for row in 0..<shape[0] {
      let values = Array(x[row * shape[1]..<(row + 1) * shape[1]])
      var codes = [Int8](repeating: 0, count: shape[1])
      let scale = values.withUnsafeBufferPointer { values in
        codes.withUnsafeMutableBufferPointer { AbsmaxQuantizer.quantize(values, into: $0) }
      }
      #expect(scale == expectedScales[row])
      #expect(codes == Array(expectedCodes[row * shape[1]..<(row + 1) * shape[1]]))
    }
  }

  @Test("round weights of half the mean to zero")
  func weightsRoundHalfToZero() {
    let quantizer = AbsmeanQuantizer(absoluteSum: 8, count: 4)  // mean 2
    #expect(quantizer.scale == 2)
    #expect([1, -1, 1.0001, -1.0001, 5, -5, 0, -0.0].map { quantizer.code($0) } == [0, 0, 1, -1, 1, -1, 0, 0])
  }

  @Test("keep the scale of zero weights at 1e-5")
  func theSmallestScaleHolds() {
    let quantizer = AbsmeanQuantizer(absoluteSum: 0, count: 10)
    #expect(quantizer.scale == 1e-5)
    #expect(quantizer.code(0) == 0)
  }
}
