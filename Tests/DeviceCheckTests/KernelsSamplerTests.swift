import BitNetCUDAEngine
import BitNetDeviceCheck
import Testing

extension KernelTests {
  @Suite("Sampler")
  struct SamplerTests {
    @Test("Chooses the tokens that Sampler.sample does")
    func samples() {
      KernelTests.run(0..<150) { SamplerCheck(&$0) }
    }
  }
}
