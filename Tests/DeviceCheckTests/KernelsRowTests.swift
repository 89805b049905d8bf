import BitNetCUDAEngine
import BitNetDeviceCheck
import Testing

extension KernelTests {
  @Suite("Rows")
  struct RowTests {
    @Test func embeds() {
      KernelTests.run(0..<12) { EmbeddingCheck(&$0) }
    }

    @Test("Quantises, including values that are not finite")
    func quantizes() {
      KernelTests.run(0..<80) { QuantizerCheck(&$0) }
    }
  }
}
