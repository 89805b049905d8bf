import BitNetCUDAEngine
import BitNetDeviceCheck
import Testing

extension KernelTests {
  @Suite("LM head")
  struct HeadTests {
    @Test("In full", arguments: [1, 4, 8])
    func full(tokens: Int) {
      KernelTests.run(0..<20) { HeadCheck(&$0, tokens: tokens) }
    }

    @Test("The int8 copy")
    func screenCopy() {
      KernelTests.run(0..<40) { ScreenCopyCheck(&$0) }
    }

    @Test("Screened: bounds hold", arguments: [1, 4])
    func screenBounds(tokens: Int) {
      KernelTests.run(0..<40) { ScreenCheck(&$0, .bounds, tokens: tokens) }
    }

    @Test("Screened: cuts with least work, and what is below them")
    func screenCuts() {
      KernelTests.run(0..<150) { ScreenCutsCheck(&$0) }
    }

    @Test("Screened: no relevant logit is missing or differs", arguments: [1, 4])
    func screenedLogits(tokens: Int) {
      KernelTests.run(0..<40) { ScreenCheck(&$0, .logits, tokens: tokens) }
    }
  }
}
