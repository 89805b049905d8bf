// swift-tools-version: 6.2
import PackageDescription

/// The sources for the GPU compiler, which swift build leaves out.
let cudaSources = [
  "attention_decode.cu", "attention_decode.cuh", "attention_prompt.cu", "attention_short.cuh", "attention_window.cu",
  "cache.cuh", "canonical.cuh", "decode.cu", "decode_one.cu", "decode_one.cuh", "decode_resident.cu",
  "decode_resident.cuh", "decode_traced.cu", "few.cu", "few.cuh", "gemm.cu", "gemm.cuh", "gemv.cu", "gemv.cuh",
  "head.cu", "head.cuh", "matrix.cuh", "normed.cu", "one_block.cuh", "one_row.cuh", "ptx", "ptx.cuh", "quantize.cuh",
  "resident_traced.cu", "rotary.cu", "rows.cu", "sample.cu", "screen.cu", "screen.cuh", "tape.cuh", "trace.cuh",
]

let package = Package(
  name: "swift-bitnet",
  platforms: [.macOS(.v15)],
  products: [
    .library(name: "BitNet", targets: ["BitNet"]),
    .library(name: "BitNetDemoModel", targets: ["BitNetDemoModel"]),
    .library(name: "BitNetHub", targets: ["BitNetHub"]),
    .library(name: "BitNetServer", targets: ["BitNetServer"]),
    .executable(name: "bitnet", targets: ["BitNetCommand"]),
  ],
  traits: [
    .trait(name: "Hub", description: "bitnet pull: downloads from the Hugging Face hub. Compiles swift-nio and TLS."),
    .trait(name: "Signing", description: "Signatures of receipts. Compiles swift-crypto."),
    .trait(name: "Server", description: "bitnet serve: a server of models. Compiles Hummingbird, swift-nio and TLS."),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    // Of the traits Hub and Server alone.
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0"),
    // Of the trait Server alone.
    .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.14.0"),
    .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-nio-extras", from: "1.34.1"),
    // Of the trait Signing alone.
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
  ],
  targets: [
    .target(name: "BitNetTernary", path: "Sources/Ternary"),
    .target(name: "BitNetJSON", path: "Sources/JSON"),
    .target(name: "CBitNetHash", path: "Sources/CHash"),
    .target(name: "BitNetHash", dependencies: ["CBitNetHash"], path: "Sources/Hash"),
    .target(name: "BitNetInference", dependencies: ["BitNetTernary"], path: "Sources/Inference"),
    .target(
      name: "BitNetModelFiles", dependencies: ["BitNetHash", "BitNetInference", "BitNetJSON", "BitNetTernary"],
      path: "Sources/ModelFiles"),
    .target(
      name: "BitNetHub",
      dependencies: [
        "BitNetHash", "BitNetJSON", "BitNetModelFiles",
        .product(name: "AsyncHTTPClient", package: "async-http-client", condition: .when(traits: ["Hub"])),
        .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Hub"])),
        .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["Hub"])),
        .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["Hub"])),
        .product(name: "NIOSSL", package: "swift-nio-ssl", condition: .when(traits: ["Hub"])),
      ],
      path: "Sources/Hub"),
    .target(name: "BitNetTokenization", dependencies: ["BitNetJSON"], path: "Sources/Tokenization"),
    .target(
      name: "CBitNetTernary", path: "Sources/CTernary",
      exclude: ["avx2.inc", "avx512.inc", "canonical.inc", "neon.inc"]),
    .target(
      name: "BitNetCPUEngine", dependencies: ["CBitNetTernary", "BitNetInference", "BitNetTernary"],
      path: "Sources/CPUEngine"),
    .target(name: "BitNetCUDADriver", path: "Sources/CUDADriver"),
    .target(name: "CBitNetCUDAKernels", path: "Sources/CUDAKernels", exclude: cudaSources),
    .target(
      name: "BitNetCUDAEngine",
      dependencies: ["BitNetCUDADriver", "CBitNetCUDAKernels", "BitNetInference", "BitNetTernary"],
      path: "Sources/CUDAEngine"),
    .target(name: "BitNetServing", dependencies: ["BitNetInference"], path: "Sources/Serving"),
    .target(name: "BitNetConstraints", dependencies: ["BitNetJSON"], path: "Sources/Constraints"),
    .target(
      name: "BitNetToolCalls", dependencies: ["BitNetConstraints", "BitNetJSON", "BitNetTokenization"],
      path: "Sources/ToolCalls"),
    .target(
      name: "BitNetRandomModels", dependencies: ["BitNetInference", "BitNetTernary"], path: "Sources/RandomModels"),
    .target(
      name: "BitNetDeviceCheck",
      dependencies: [
        "BitNetCUDADriver", "BitNetCUDAEngine", "CBitNetCUDAKernels", "BitNetInference", "BitNetRandomModels",
        "BitNetTernary",
      ],
      path: "Sources/DeviceCheck"),
    .target(
      name: "BitNet",
      dependencies: [
        "BitNetConstraints", "BitNetCPUEngine", "BitNetCUDADriver", "BitNetCUDAEngine", "BitNetDeviceCheck",
        "BitNetHash",
        "BitNetInference", "BitNetJSON", "BitNetModelFiles", "BitNetServing", "BitNetTernary", "BitNetTokenization",
        .product(name: "Crypto", package: "swift-crypto", condition: .when(traits: ["Signing"])),
      ]),
    .target(
      name: "BitNetDiagnostics",
      dependencies: [
        "BitNetCPUEngine", "CBitNetTernary", "BitNetCUDADriver", "BitNetCUDAEngine", "CBitNetCUDAKernels",
        "BitNetDeviceCheck", "BitNetInference", "BitNetRandomModels", "BitNetServing", "BitNetTernary",
      ],
      path: "Sources/Diagnostics"),
    .target(
      name: "CBitNetPage", path: "Sources/Page",
      exclude: [
        "activity.js", "body.html", "client.js", "dom.js", "main.js", "markdown.js", "message.js", "settings.js",
        "store.js", "style.css",
      ]),
    .target(
      name: "BitNetLoadClient",
      dependencies: [
        "BitNetJSON",
        .product(name: "AsyncHTTPClient", package: "async-http-client", condition: .when(traits: ["Server"])),
        .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Server"])),
        .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["Server"])),
      ],
      path: "Sources/LoadClient"),
    .target(
      name: "BitNetServer",
      dependencies: [
        "BitNet", "BitNetConstraints", "BitNetHash", "BitNetInference", "BitNetJSON", "BitNetServing",
        "BitNetTokenization", "BitNetToolCalls", "CBitNetPage",
        .product(name: "Hummingbird", package: "hummingbird", condition: .when(traits: ["Server"])),
        .product(name: "HummingbirdCore", package: "hummingbird", condition: .when(traits: ["Server"])),
        .product(name: "HTTPTypes", package: "swift-http-types", condition: .when(traits: ["Server"])),
        .product(name: "Logging", package: "swift-log", condition: .when(traits: ["Server"])),
        .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["Server"])),
        .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["Server"])),
        .product(name: "NIOHTTPTypes", package: "swift-nio-extras", condition: .when(traits: ["Server"])),
        .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras", condition: .when(traits: ["Server"])),
        .product(name: "NIOSSL", package: "swift-nio-ssl", condition: .when(traits: ["Server"])),
        .product(
          name: "ServiceLifecycle", package: "swift-service-lifecycle", condition: .when(traits: ["Server"])),
      ],
      path: "Sources/Server"),
    .target(name: "BitNetDemoModel", path: "Sources/DemoModel", exclude: ["demo.safetensors"]),
    .executableTarget(
      name: "BitNetCommand",
      dependencies: [
        "BitNet", "BitNetCPUEngine", "BitNetCUDADriver", "BitNetCUDAEngine", "BitNetDemoModel", "BitNetDeviceCheck",
        "BitNetDiagnostics", "BitNetHub",
        "BitNetInference", "BitNetJSON", "BitNetLoadClient", "BitNetModelFiles", "BitNetRandomModels", "BitNetServer",
        "BitNetServing", "BitNetTernary", "BitNetTokenization",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
        .product(name: "Logging", package: "swift-log", condition: .when(traits: ["Server"])),
      ]),
    .executableTarget(name: "Storyteller", dependencies: ["BitNet", "BitNetDemoModel"], path: "Examples/Storyteller"),

    // The kernels compiled for the CPU, with a stand-in for libcuda.so.1 that runs them.
    .target(
      name: "CUDAOnCPU", path: "Tests/CUDAOnCPU",
      cxxSettings: [
        .define("CUDA_ON_CPU"), .headerSearchPath("."), .headerSearchPath("../../Sources/CUDAKernels"),
        .headerSearchPath("../../Sources/CUDAKernels/include"),
        // Optimise in debug builds too, which makes the kernels 10x faster. No product contains this target, so the
        // unsafe flags do not keep other packages from depending on this one.
        .unsafeFlags(["-O2"]),
      ]),
    .target(
      name: "TestSupport",
      dependencies: ["BitNetInference", "BitNetModelFiles", "BitNetRandomModels", "BitNetTernary"],
      path: "Tests/TestSupport"),
    .target(
      name: "ModelFilesSupport",
      dependencies: ["BitNetInference", "BitNetModelFiles", "BitNetRandomModels", "BitNetTernary", "TestSupport"],
      path: "Tests/ModelFilesSupport"),
    .executableTarget(
      name: "FuzzLoaders",
      dependencies: [
        "BitNetInference", "BitNetModelFiles", "BitNetRandomModels", "ModelFilesSupport", "BitNetTernary",
        "TestSupport",
      ],
      path: "Tests/Fuzzing"),
    .executableTarget(
      name: "KernelFuzz",
      dependencies: [
        "BitNetCPUEngine", "BitNetCUDADriver", "BitNetCUDAEngine", "BitNetDeviceCheck", "BitNetDiagnostics",
        "BitNetModelFiles", "TestSupport",
      ],
      path: "Tests/KernelFuzz"),
    .testTarget(name: "TernaryTests", dependencies: ["BitNetModelFiles", "BitNetTernary", "TestSupport"]),
    .testTarget(name: "JSONTests", dependencies: ["BitNetJSON"]),
    .executableTarget(
      name: "SchemaCheck", dependencies: ["BitNetConstraints", "BitNetJSON"], path: "Tests/SchemaCheck"),
    .testTarget(
      name: "ConstraintsTests",
      dependencies: ["BitNetConstraints", "BitNetJSON", "BitNetTokenization", "BitNetToolCalls"]),
    .testTarget(name: "TokenizationTests", dependencies: ["BitNetJSON", "BitNetTokenization"], exclude: ["Fixtures"]),
    .testTarget(
      name: "ModelFilesTests",
      dependencies: [
        "BitNetCPUEngine", "BitNetInference", "BitNetModelFiles", "BitNetRandomModels", "ModelFilesSupport",
        "BitNetTernary", "TestSupport",
      ]),
    .testTarget(
      name: "HubTests", dependencies: ["BitNetHash", "BitNetHub", "BitNetModelFiles", "TestSupport"]),
    .testTarget(
      name: "InferenceTests", dependencies: ["BitNetInference", "BitNetRandomModels", "BitNetTernary", "TestSupport"]),
    .testTarget(
      name: "EngineTests",
      dependencies: [
        "BitNetCPUEngine", "CBitNetTernary", "BitNetHash", "BitNetInference", "BitNetModelFiles", "BitNetRandomModels",
        "BitNetTernary", "TestSupport",
      ]),
    .target(
      name: "CUDATestSupport", dependencies: ["BitNetCUDADriver", "CUDAOnCPU", "TestSupport"],
      path: "Tests/CUDATestSupport"),
    .testTarget(name: "CUDADriverTests", dependencies: ["BitNetCUDADriver", "CUDAOnCPU", "CUDATestSupport"]),
    .testTarget(
      name: "CUDAEngineTests",
      dependencies: [
        "BitNetCPUEngine", "BitNetCUDADriver", "BitNetCUDAEngine", "CBitNetCUDAKernels", "CUDATestSupport",
        "BitNetInference",
        "BitNetModelFiles", "BitNetRandomModels", "BitNetServing", "BitNetTernary", "TestSupport",
      ]),
    .testTarget(
      name: "DeviceCheckTests",
      dependencies: [
        "BitNetCPUEngine", "BitNetCUDADriver", "BitNetCUDAEngine", "BitNetDeviceCheck", "CUDATestSupport",
        "BitNetInference",
        "BitNetRandomModels", "TestSupport",
      ]),
    .testTarget(
      name: "DiagnosticsTests",
      dependencies: [
        "BitNetCPUEngine", "BitNetDeviceCheck", "BitNetDiagnostics", "BitNetInference", "BitNetRandomModels",
        "BitNetTernary",
        "TestSupport",
      ]),
    .testTarget(
      name: "ServingTests",
      dependencies: [
        "BitNetCPUEngine", "BitNetInference", "BitNetModelFiles", "BitNetRandomModels", "BitNetServing", "TestSupport",
      ]),
    .testTarget(
      name: "ServerTests",
      dependencies: [
        "BitNet", "BitNetDemoModel", "BitNetInference", "BitNetJSON", "BitNetServer", "BitNetServing",
        "BitNetTokenization", "TestSupport",
      ]),
    .testTarget(name: "LoadClientTests", dependencies: ["BitNetJSON", "BitNetLoadClient"]),
    .testTarget(
      name: "BitNetTests",
      dependencies: [
        "BitNet", "BitNetConstraints", "BitNetCPUEngine", "BitNetCUDADriver", "BitNetCUDAEngine", "BitNetDemoModel",
        "CUDATestSupport", "BitNetInference", "BitNetModelFiles", "BitNetRandomModels", "BitNetServing",
        "BitNetTernary", "BitNetTokenization", "Storyteller", "TestSupport",
      ]),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "BitNet", "BitNetCommand", "BitNetCPUEngine", "BitNetCUDADriver", "BitNetCUDAEngine", "BitNetInference",
        "BitNetModelFiles", "BitNetRandomModels", "BitNetTokenization", "CUDAOnCPU", "TestSupport",
      ]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c17,
  cxxLanguageStandard: .cxx20
)

for target in package.targets {
  target.swiftSettings = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
  ]
}
