// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "swift-bitnet",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "BitNet", targets: ["BitNet"]),
    .library(name: "DemoModel", targets: ["DemoModel"]),
    .executable(name: "bitnet", targets: ["BitNetCommand"]),
    .executable(name: "fuzz-loaders", targets: ["FuzzLoaders"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    .target(name: "Ternary"),
    .target(name: "Inference", dependencies: ["Ternary"]),
    .target(name: "ModelFiles", dependencies: ["Inference", "Ternary"]),
    .target(name: "Tokenization"),
    .target(name: "CTernary", exclude: ["canonical.inc"]),
    .target(name: "CPUEngine", dependencies: ["CTernary", "Inference", "Ternary"]),
    .target(name: "BitNet", dependencies: ["CPUEngine", "Inference", "ModelFiles", "Ternary", "Tokenization"]),
    .target(name: "DemoModel", exclude: ["demo.safetensors"]),
    .executableTarget(
      name: "BitNetCommand",
      dependencies: [
        "BitNet", "DemoModel",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ]),
    .executableTarget(name: "Storyteller", dependencies: ["BitNet", "DemoModel"], path: "Examples/Storyteller"),

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
    .testTarget(name: "BitNetTests", dependencies: ["BitNet", "DemoModel", "TestSupport", "Storyteller"]),
    .testTarget(name: "CommandTests", dependencies: ["BitNet", "BitNetCommand", "TestSupport"]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c17
)
