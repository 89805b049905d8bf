// Compares the kernels and engines of a GPU with scalar code and the CPU engine, as `bitnet verify` does, for random
// shapes and models and the demo model. Small, so that it is compiled quickly for the sanitizers, with which it runs every kernel on the
// driver that stands in for a GPU.
//
// usage: KernelFuzz [SEED]
//
// The exit status is 1 if anything differs or fails, and 2 without a GPU.

import BitNetCPUEngine
import BitNetCUDADriver
import BitNetCUDAEngine
import BitNetDeviceCheck
import BitNetDiagnostics
import BitNetModelFiles
import TestSupport

#if canImport(Darwin)
  import Darwin
#elseif canImport(Musl)
  import Musl
#else
  import Glibc
#endif

guard let seed = CommandLine.arguments.count < 2 ? 1 : UInt64(CommandLine.arguments[1]) else {
  print("the seed is \"\(CommandLine.arguments[1])\"; expected a number")
  exit(2)
}
let verification: Verification
do {
  verification = try Verification(device: 0, seed: seed)
} catch {
  print(error)
  exit(2)
}
print("\(verification.device.name), seed \(seed)")

/// Runs all checks, and returns whether all results are equal.
func check(_ verification: Verification, seed: UInt64) throws -> Bool {
  let weights = try ModelLoader.load(path: Repository.path("Sources/DemoModel/demo.safetensors")).weights
  let shapes = 2
  var isEqual = true
  func report(_ check: EqualityCheck) {
    isEqual = isEqual && check.isEqual
    print("\(check.name): \(check.compared) numbers of \(check.cases), \(check.error ?? check.first ?? "equal")")
  }
  verification.kernelChecks(shapes: shapes, isShort: true, report)
  verification.products(shapes: shapes, isShort: true, report)
  let cpu = EngineComparison.Candidate(name: "the CPU engine") { try CPUEngine(weights: $0) }
  for isCooperative in [false, true] {
    let candidates = verification.engines(isCooperative: isCooperative)
    let comparison = EngineComparison(expected: cpu, candidates: candidates, seed: seed)
    comparison.randomModels(shapes, isShort: true, report)
    comparison.model(weights, label: "the demo model", tokens: 2, report)
    // The cooperative kernels leave the arithmetic of these models to the others.
    if !isCooperative { comparison.embeddingModels(shapes, isShort: true, report) }
  }
  return isEqual
}

exit(try check(verification, seed: seed) ? 0 : 1)
