import BitNet
import BitNetCPUEngine
import BitNetCUDADriver
import BitNetInference
import BitNetModelFiles
import BitNetTernary
import BitNetTokenization
import Testing

@Suite("Public errors")
struct BitNetErrorTests {
  @Test("keep the inner error's sentence, and have its subject, finding and expectation as fields")
  func forms() {
    let result = CUDAResult(code: 700, name: "CUDA_ERROR_ILLEGAL_ADDRESS", text: "an illegal memory access")
    let cases: [(error: any Error, code: BitNetError.Code, subject: String, found: String, expected: String?)] = [
      (
        EngineError.parameter(name: "top-k", found: "-1", expected: "0 or more"), .invalidArgument, "top-k", "-1",
        "0 or more"
      ),
      (EngineError.tokenOutOfRange(9, vocabulary: 8), .invalidArgument, "token id", "9", "0 to 7"),
      (
        EngineError.contextFull(length: 10, adding: 9, limit: 16), .contextExceeded, "the sequence", "19 tokens",
        "at most 16"
      ),
      (EngineError.cacheFull(needed: 2, held: 3, limit: 4), .outOfMemory, "the cache", "5 pages", "at most 4"),
      (EngineError.device("it burns"), .deviceFailed, "the device", "it burns", nil),
      (CUDAError.noDevice, .deviceUnavailable, "the number of NVIDIA GPUs", "0", "1 or more"),
      (CUDAError.deviceOutOfRange(3, count: 2), .deviceUnavailable, "the GPU's number", "3", "0 to 1"),
      (
        CUDAError.outOfMemory(requested: 5_000, free: 40), .outOfMemory, "the GPU's free memory", "40 bytes",
        "5000 bytes"
      ),
      (CUDAError.abandoned(device: "H100"), .deviceUnavailable, "H100", "out of use", "a new process"),
      (
        ModelFileError(
          .configuration, file: "config.json", subject: "hidden_size", finding: "is 0", expected: "1 or more"),
        .invalidModel, "config.json: hidden_size", "is 0", "1 or more"
      ),
      (
        ModelFileError(.system, file: "m.safetensors", finding: "does not exist"), .fileAccess,
        "m.safetensors: the file", "does not exist", nil
      ),
      (
        ModelFileError(.unsupported, file: "m.gguf", finding: "is a GGUF file"), .unsupportedModel,
        "m.gguf: the file", "is a GGUF file", nil
      ),
      (
        TokenizerError(subject: "model.vocab", found: "a number", expected: "an object"), .invalidTokenizer,
        "model.vocab", "a number", "an object"
      ),
    ]
    for (inner, code, subject, found, expected) in cases {
      let error = BitNetError(inner)
      #expect(error.code == code && error.subject == subject && error.found == found, "\(inner)")
      #expect(error.expected == expected && error.description == "\(inner)" && error.cause != nil, "\(inner)")
      #expect(BitNetError(error).description == error.description, "an error is wrapped once")
    }
    let call = BitNetError(CUDAError.call(function: "cuCtxSynchronize", result: result, detail: ""))
    #expect(call.code == .deviceFailed && call.description.contains("CUDA_ERROR_ILLEGAL_ADDRESS"))
  }

  @Test("name the file that cannot be loaded")
  func loading() async throws {
    let error = await #expect(throws: BitNetError.self) {
      _ = try await LanguageModel.load("/there/is/no/such.safetensors")
    }
    #expect(error?.code == .fileAccess && error?.subject.hasPrefix("/there/is/no/such.safetensors") == true)
  }
}
