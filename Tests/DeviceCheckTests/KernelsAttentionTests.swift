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

    @Test("Windows, attention to later tokens, and heads of any size")
    func windows() {
      KernelTests.run(0..<40) { PromptAttentionCheck(windows: &$0) }
    }

    @Test("Windows with more than 32 query heads per key head")
    func windowsOfManyHeads() {
      KernelTests.run(100..<103) { PromptAttentionCheck(windows: &$0, group: 40) }
    }

    @Test("A prompt with more than 64 query heads per key head")
    func promptOfManyHeads() {
      KernelTests.run(100..<102) { PromptAttentionCheck(&$0, group: 70) }
    }
  }
}
