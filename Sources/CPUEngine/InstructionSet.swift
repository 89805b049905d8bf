package import CBitNetTernary

/// The processor's instructions that the kernels may use.
public enum InstructionSet: String, CaseIterable, Sendable {
  case portable
  case avx2
  case avxvnni
  case avx512
  case neon
  case neonI8MM = "neon-i8mm"

  /// The sets this machine can run, best first; `portable` is always among them.
  public static let available: [InstructionSet] = {
    var sets: [InstructionSet] = []
    var list = ternary_kernels_available()
    while let kernels = list.pointee {
      if let set = InstructionSet(rawValue: String(cString: kernels.pointee.name)) { sets.append(set) }
      list += 1
    }
    return sets
  }()

  /// The set called `name`.
  /// - Throws: `InstructionSetError` when there is none of that name, or this machine cannot run it.
  package static func named(_ name: String) throws(InstructionSetError) -> InstructionSet {
    guard let set = InstructionSet(rawValue: name), available.contains(set) else {
      throw InstructionSetError(name: name)
    }
    return set
  }

  /// The kernels of this set, or of the best one if this machine cannot run it.
  package var kernels: TernaryKernels {
    var list = ternary_kernels_available()
    while let kernels = list.pointee {
      if String(cString: kernels.pointee.name) == rawValue { return kernels.pointee }
      list += 1
    }
    return Self.available[0].kernels
  }
}

package struct InstructionSetError: Error, CustomStringConvertible {
  package let name: String
  package var description: String {
    "the instruction set is \(name); expected one that this machine has: "
      + InstructionSet.available.map(\.rawValue).joined(separator: ", ")
  }
}
