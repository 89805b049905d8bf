package import BitNetInference
package import CBitNetTernary

/// The processor's instructions that the kernels may use: `portable` (plain C), `avx2`, `avxvnni`, `avx512`, `neon` or
/// `neon-i8mm`. Results are the same with all of them.
public struct InstructionSet: RawRepresentable, Hashable, Sendable {
  /// The set's name, such as `avx512`.
  public let rawValue: String

  /// Makes a set from its name; see ``available`` for the names that this machine knows.
  public init(rawValue: String) { self.rawValue = rawValue }

  /// Plain C, for any processor.
  package static let portable = InstructionSet(rawValue: "portable")

  /// The sets that this machine can run, best first; `portable` is always among them.
  public static let available: [InstructionSet] = {
    var sets: [InstructionSet] = []
    var list = ternary_kernels_available()
    while let kernels = list.pointee {
      sets.append(InstructionSet(rawValue: String(cString: kernels.pointee.name)))
      list += 1
    }
    return sets
  }()

  /// The set called `name`.
  /// - Throws: `InstructionSetError` when there is none of that name, or this machine cannot run it.
  package static func named(_ name: String) throws(InstructionSetError) -> InstructionSet {
    let set = InstructionSet(rawValue: name)
    guard available.contains(set) else { throw InstructionSetError(name: name) }
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

extension TernaryKernels {
  /// The sampler's loops over a vocabulary.
  package var sampler: SamplerKernels {
    let (tokenWeights, indicesFrom) = (tokenWeights, indicesFrom)
    return SamplerKernels(
      weights: { logits, largest, weights in
        guard let first = logits.baseAddress else { return 0 }
        return tokenWeights(first, logits.count, largest, weights)
      },
      indices: { logits, least, indices in
        guard let first = logits.baseAddress else { return 0 }
        return indicesFrom(first, logits.count, least, indices)
      })
  }
}

package struct InstructionSetError: Error, CustomStringConvertible {
  package let name: String
  package var description: String {
    "the instruction set is \(name); expected one that this machine has: "
      + InstructionSet.available.map(\.rawValue).joined(separator: ", ")
  }
}
