// swift-tools-version: 6.2
import PackageDescription

/// What the compiler for GPUs takes; swift build does not.
let cudaSources = [
  "attention_decode.cu", "attention_decode.cuh", "attention_prompt.cu", "attention_short.cuh", "cache.cuh", "canonical.cuh",
  "decode.cu", "decode_one.cu", "decode_one.cuh", "decode_traced.cu", "few.cu", "few.cuh", "gemm.cu", "gemm.cuh", "gemv.cu",
  "gemv.cuh", "head.cu", "head.cuh", "matrix.cuh", "ptx", "ptx.cuh", "quantize.cuh", "rotary.cu", "rows.cu", "sample.cu",
  "screen.cu", "screen.cuh", "tape.cuh", "trace.cuh",
]

let package = Package(
  name: "swift-bitnet",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "BitNet", targets: ["BitNet"]),
    .library(name: "DemoModel", targets: ["DemoModel"]),
    .executable(name: "bitnet", targets: ["BitNetCommand"]),
    .executable(name: "fuzz-loaders", targets: ["FuzzLoaders"]),
    .library(name: "CUDAOnCPU", type: .dynamic, targets: ["CUDAOnCPU"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    .target(name: "Ternary"),
    .target(name: "Inference", dependencies: ["Ternary"]),
    .target(name: "ModelFiles", dependencies: ["Inference", "Ternary"]),
    .target(name: "Tokenization"),
    .target(name: "CTernary", exclude: ["avx2.inc", "canonical.inc", "neon.inc"]),
    .target(name: "CPUEngine", dependencies: ["CTernary", "Inference", "Ternary"]),
    .target(name: "CUDADriver"),
    .target(name: "CUDAKernels", exclude: cudaSources),
    .target(name: "CUDAEngine", dependencies: ["CUDADriver", "CUDAKernels", "Inference", "Ternary"]),
    .target(name: "BitNet", dependencies: ["CPUEngine", "CUDAEngine", "Inference", "ModelFiles", "Ternary", "Tokenization"]),
    .target(name: "DemoModel", exclude: ["demo.safetensors"]),
    .executableTarget(
      name: "BitNetCommand",
      dependencies: [
        "BitNet", "DemoModel",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .executableTarget(name: "Storyteller", dependencies: ["BitNet", "DemoModel"], path: "Examples/Storyteller"),

    // The kernels compiled for the CPU, and a stand-in for libcuda.so.1 that runs them.
    .target(
      name: "CUDAOnCPU", path: "Tests/CUDAOnCPU",
      cxxSettings: [
        .define("CUDA_ON_CPU"), .headerSearchPath("."), .headerSearchPath("../../Sources/CUDAKernels"),
        .headerSearchPath("../../Sources/CUDAKernels/include"),
        // Ten times as fast, in debug builds too. Nothing that others depend on contains this target.
        .unsafeFlags(["-O2"]),
      ]),
    .target(name: "TestSupport", dependencies: ["Inference", "ModelFiles", "Ternary"], path: "Tests/TestSupport"),
    .target(
      name: "ModelFilesSupport", dependencies: ["Inference", "ModelFiles", "Ternary", "TestSupport"], path: "Tests/ModelFilesSupport"),
    .executableTarget(
      name: "FuzzLoaders", dependencies: ["Inference", "ModelFiles", "ModelFilesSupport", "Ternary", "TestSupport"],
      path: "Tests/Fuzzing"),
    .testTarget(name: "TernaryTests", dependencies: ["ModelFiles", "Ternary", "TestSupport"]),
    .testTarget(name: "TokenizationTests", dependencies: ["Tokenization"], exclude: ["Fixtures"]),
    .testTarget(
      name: "ModelFilesTests", dependencies: ["Inference", "ModelFiles", "ModelFilesSupport", "Ternary", "TestSupport"]),
    .testTarget(name: "InferenceTests", dependencies: ["Inference", "Ternary", "TestSupport"]),
    .testTarget(name: "EngineTests", dependencies: ["CPUEngine", "CTernary", "Inference", "ModelFiles", "Ternary", "TestSupport"]),
    .target(name: "CUDATestSupport", dependencies: ["CUDADriver", "CUDAOnCPU"], path: "Tests/CUDATestSupport"),
    .testTarget(name: "CUDADriverTests", dependencies: ["CUDADriver", "CUDATestSupport"]),
    .testTarget(
      name: "CUDAEngineTests",
      dependencies: [
        "CPUEngine", "CUDADriver", "CUDAEngine", "CUDAKernels", "CUDATestSupport", "Inference", "ModelFiles", "Ternary", "TestSupport",
      ]),
    .testTarget(name: "BitNetTests", dependencies: ["BitNet", "DemoModel", "TestSupport", "Storyteller"]),
    .testTarget(name: "CommandTests", dependencies: ["BitNet", "BitNetCommand", "CUDAOnCPU", "TestSupport"]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c17,
  cxxLanguageStandard: .cxx20
)
