package import BitNetCPUEngine

extension LanguageModel {
  /// What a model runs on.
  public struct Device: Sendable {
    package enum Kind: Sendable {
      case automatic(CPUOptions, CUDAOptions)
      case cpu(CPUOptions)
      case cuda(Int, CUDAOptions)
    }

    package let kind: Kind

    /// Whether it is a GPU, or would be if there were one.
    var isGPU: Bool { if case .cpu = kind { false } else { true } }

    /// The first GPU, or the CPU where no GPU takes the model and passes its check;
    /// ``DeviceDescription/fallbackReason`` then says why.
    ///
    /// - Parameters:
    ///   - cpu: options for the case that it is the CPU.
    ///   - cuda: options for the case that it is a GPU.
    public static func automatic(cpu: CPUOptions = .init(), cuda: CUDAOptions = .init()) -> Device {
      Device(kind: .automatic(cpu, cuda))
    }

    /// The CPU.
    ///
    /// - Parameter options: threads, instructions and memory.
    public static func cpu(_ options: CPUOptions = .init()) -> Device { Device(kind: .cpu(options)) }

    /// An NVIDIA GPU.
    ///
    /// - Parameters:
    ///   - number: the GPU's number, 0 or more, as the CUDA driver counts.
    ///   - options: how the GPU is used.
    public static func cuda(_ number: Int = 0, _ options: CUDAOptions = .init()) -> Device {
      Device(kind: .cuda(number, options))
    }
  }

  /// Options of the CPU engine.
  public struct CPUOptions: Sendable {
    /// Threads, 1 to 1,024; nil takes one for each physical core that this process may use.
    public var threads: Int?
    /// The processor's instructions; nil takes the best that the machine has.
    public var instructionSet: InstructionSet?
    /// Whether to copy the ternary weights of a memory-mapped file into larger pages of the process's own, which are
    /// read faster but not shared with other processes. nil copies them once a process has decoded 32 tokens.
    public var copiesWeights: Bool?

    /// Makes options; see the properties.
    public init(threads: Int? = nil, instructionSet: InstructionSet? = nil, copiesWeights: Bool? = nil) {
      self.threads = threads
      self.instructionSet = instructionSet
      self.copiesWeights = copiesWeights
    }
  }

  /// Options of the GPU engine.
  public struct CUDAOptions: Sendable {
    /// Whether to check the GPU before its first use with a driver and build. The check takes up to half a minute
    /// once, in which the driver compiles the kernels. A GPU that does not pass is not used.
    public var checksDevice: Bool
    /// Called with the GPU's name when its check begins.
    public var checkWillStart: (@Sendable (_ device: String) -> Void)?
    /// Whether single tokens go through one cooperative kernel. Results are the same; it is for measurements.
    package var usesCooperativeKernel = true

    /// Makes options; see the properties.
    public init(checksDevice: Bool = true, checkWillStart: (@Sendable (_ device: String) -> Void)? = nil) {
      self.checksDevice = checksDevice
      self.checkWillStart = checkWillStart
    }
  }

  /// The device that a loaded model runs on.
  public struct DeviceDescription: Sendable, CustomStringConvertible {
    /// Whether it is a GPU.
    public let isGPU: Bool
    /// Why it is not a GPU, when ``Device/automatic(cpu:cuda:)`` found none to use; nil otherwise.
    public let fallbackReason: String?
    /// The device in a few words, such as "CPU, avx512, 2 threads".
    public let description: String
  }
}
