import BitNetCUDAEngine
import BitNetDeviceCheck
import Testing

extension KernelTests {
  @Suite("Attention")
  struct AttentionTests {
    @Test("Rotates queries and stores keys and values")
    func rotatesAndAppends() {
      KernelTests.run(0..<24) { RotaryCheck(&$0) }
    }

    @Test("Single tokens")
    func decode() {
      KernelTests.run(0..<32) { DecodeAttentionCheck(&$0) }
    }

    @Test("Single tokens at positions with more chunks than a warp has lanes")
    func decodeFarAway() {
      KernelTests.run(100..<104) { DecodeAttentionCheck(&$0, maximumSize: 160, lengths: 2000...2300) }
    }

    @Test("Prompts")
    func prompt() {
      KernelTests.run(0..<16) { PromptAttentionCheck(&$0) }
    }

    @Test("A prompt with more than 64 query heads per key head")
    func promptOfManyHeads() {
      KernelTests.run(100..<102) { PromptAttentionCheck(&$0, group: 70) }
    }
  }
}
