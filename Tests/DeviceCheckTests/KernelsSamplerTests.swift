import BitNetCUDAEngine
import BitNetDeviceCheck
import Testing

extension KernelTests {
  @Suite("Sampler")
  struct SamplerTests {
    @Test("Chooses the same tokens as Sampler.sample")
    func samples() {
      KernelTests.run(0..<300) { SamplerCheck(&$0) }
    }
  }
}
