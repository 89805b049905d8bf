import Testing

import BitNetCUDADriver

@Suite("Errors of the driver")
struct ErrorTests {
  private static let refused = CUDAResult(code: 1, name: "CUDA_ERROR_INVALID_VALUE", text: "invalid argument")

  @Test(
    "Every error reads as one sentence",
    arguments: [
      (
        CUDAError.driverMissing(library: "libcuda.so.1", reason: "no such file"),
        "no NVIDIA driver: libcuda.so.1 could not be opened (no such file)"
      ),
      (
        .functionMissing("cuInit"),
        "the CUDA driver library has no function cuInit; expected an NVIDIA driver R530 or newer"
      ),
      (
        .driverTooOld(found: 11080, needed: 12010),
        "the NVIDIA driver is too old: it supports CUDA 11.8; expected 12.1 (R530) or newer"
      ),
      (.noDevice, "no NVIDIA GPU: the driver is installed but finds none"),
      (.deviceOutOfRange(3, count: 2), "there is no GPU 3; expected 0 to 1"),
      (.deviceOutOfRange(-1, count: 1), "there is no GPU -1; expected 0, the only one"),
      (
        .deviceTooOld(name: "Tesla T4", capability: "7.5", needed: "8.0"),
        "Tesla T4 is too old: its compute capability is 7.5; expected 8.0 or newer"
      ),
      (.outOfMemory(requested: 12_345_678_901, free: 1_050_000), "out of GPU memory: 12.34 GB asked for, 1.05 MB free"),
      (.outOfMemory(requested: 999, free: nil), "out of GPU memory: 999 bytes asked for"),
      (.outOfHostMemory(requested: 2_000_000_000), "out of page-locked memory: 2.00 GB asked for"),
      (.outOfBounds(offset: 8, count: 16, size: 20), "16 bytes at offset 8 do not lie within a GPU buffer of 20 bytes"),
      (
        .parameter(name: "the number of bytes", found: "-1", expected: "0 or more"),
        "the number of bytes is -1; expected 0 or more"
      ),
      (
        .moduleRefused(name: "attention", result: refused, log: "line 1; fatal"),
        "the driver does not take the GPU code attention: invalid argument (CUDA_ERROR_INVALID_VALUE, 1): line 1; fatal"
      ),
      (
        .moduleRefused(name: "attention", result: refused, log: ""),
        "the driver does not take the GPU code attention: invalid argument (CUDA_ERROR_INVALID_VALUE, 1)"
      ),
      (
        .call(function: "cuMemcpyHtoD", result: refused, detail: "4 bytes to offset 0"),
        "cuMemcpyHtoD (4 bytes to offset 0) failed: invalid argument (CUDA_ERROR_INVALID_VALUE, 1)"
      ),
      (
        .untrusted(device: "Some GPU", ordinal: 0, reason: "head_1 did not end"),
        "Some GPU failed the check before its first use (head_1 did not end); "
          + "run `bitnet verify --device cuda` for details"
      ),
      (
        .untrusted(device: "Some GPU", ordinal: 2, reason: "x is 1; expected 2"),
        "Some GPU failed the check before its first use (x is 1; expected 2); "
          + "run `bitnet verify --device cuda:2` for details"
      ),
      (.abandoned(device: "Some GPU"), "Some GPU is out of use: a kernel on it did not end; expected a new process"),
      (
        .call(function: "cuCtxSynchronize", result: refused, detail: ""),
        "cuCtxSynchronize failed: invalid argument (CUDA_ERROR_INVALID_VALUE, 1)"
      ),
    ])
  func sentence(error: CUDAError, text: String) {
    #expect(error.description == text)
  }
}
