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

    @Test("Quantises for each of a matrix's parts, after one norm or two")
    func quantizesParts() {
      KernelTests.run(0..<60) { PartQuantizerCheck(&$0) }
    }

    @Test("Normalises heads of queries and keys")
    func normalizesHeads() {
      KernelTests.run(0..<40) { HeadNormCheck(&$0) }
    }

    @Test("Adds branches, gates products, and scales outputs")
    func branches() {
      KernelTests.run(0..<30) { BranchCheck(&$0) }
      KernelTests.run(0..<30) { GateCheck(&$0) }
      KernelTests.run(0..<20) { OutputScaleCheck(&$0) }
    }
  }
}
