import ArgumentParser
import BitNet

/// What the user asks to run on.
enum DeviceChoice: ExpressibleByArgument, CustomStringConvertible {
  case auto, cpu
  case cuda(Int)

  /// "auto", "cpu", "cuda" (the first GPU) or "cuda:N"; nil for anything else.
  init?(argument text: String) {
    switch text {
    case "auto": self = .auto
    case "cpu": self = .cpu
    case "cuda": self = .cuda(0)
    default:
      guard text.hasPrefix("cuda:"), let number = Int(text.dropFirst(5)), number >= 0 else { return nil }
      self = .cuda(number)
    }
  }

  var description: String {
    switch self {
    case .auto: "auto"
    case .cpu: "cpu"
    case .cuda(let number): number == 0 ? "cuda" : "cuda:\(number)"
    }
  }

  /// The device as the library names it. Options that only the CPU has choose it where the choice is left open.
  func device(cpu: LanguageModel.CPUOptions, cuda: LanguageModel.CUDAOptions) -> LanguageModel.Device {
    switch self {
    case .cpu: .cpu(cpu)
    case .cuda(let number): .cuda(number, cuda)
    case .auto:
      if cpu.threads != nil || cpu.instructionSet != nil || cpu.copiesWeights != nil {
        .cpu(cpu)
      } else {
        .automatic(cpu: cpu, cuda: cuda)
      }
    }
  }
}
