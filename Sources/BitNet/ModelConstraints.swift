package import BitNetConstraints
import BitNetInference
package import BitNetServing
import BitNetTokenization
import Synchronization

/// The constraints of a model's recent requests, with the masks that are known for its vocabulary.
package final class ModelConstraints: Sendable {
  private struct Memory {
    /// Made when it is first needed.
    var trie: TokenTrie?
    /// The latest last.
    var machines: [(constraint: TextConstraint, machine: ConstraintMachine)] = []
  }

  private let tokenizer: Tokenizer
  private let vocabulary: Int
  private let memory = Mutex(Memory())
  /// Constraints that are kept; each keeps up to 16 MiB of masks.
  private static let capacity = 8

  /// - Parameter vocabulary: the model's vocabulary, which may have more tokens than the tokenizer's.
  init(_ tokenizer: Tokenizer, vocabulary: Int) { (self.tokenizer, self.vocabulary) = (tokenizer, vocabulary) }

  /// What a constraint of this class asks of a text; nil for others.
  package func text(of constraint: any TokenConstraint) -> TextConstraint? {
    (constraint as? MachineConstraint)?.machine.constraint
  }

  /// The constraint for requests to the model's scheduler.
  ///
  /// - Throws: `ConstraintError` for a schema that cannot be used.
  package func constraint(_ constraint: TextConstraint) throws -> any TokenConstraint {
    try memory.withLock { memory in
      if let place = memory.machines.firstIndex(where: { $0.constraint == constraint }) {
        let known = memory.machines.remove(at: place)
        memory.machines.append(known)
        return MachineConstraint(machine: known.machine)
      }
      let trie = memory.trie ?? TokenTrie(vocabulary: vocabulary) { [tokenizer] in tokenizer.textBytes(of: $0) }
      memory.trie = trie
      let machine = try ConstraintMachine(constraint, trie)
      if memory.machines.count == Self.capacity { memory.machines.removeFirst() }
      memory.machines.append((constraint, machine))
      return MachineConstraint(machine: machine)
    }
  }
}

/// A constraint on texts as one on a request's tokens.
private struct MachineConstraint: TokenConstraint {
  let machine: ConstraintMachine

  func begin(ends: Set<Int32>) -> any TokenConstraintState {
    State(machine: machine, ends: ends, state: machine.start())
  }

  struct State: TokenConstraintState {
    let machine: ConstraintMachine
    let ends: Set<Int32>
    var state: ConstraintMachine.State

    var mask: TokenMask {
      let found = machine.mask(state)
      var mask = TokenMask(words: found.words, vocabulary: machine.trie.vocabulary)
      for end in ends where 0..<mask.vocabulary ~= Int(end) { mask[Int(end)] = found.isComplete }
      return mask
    }

    mutating func append(_ token: Int32) { _ = machine.append(token, to: &state) }
  }
}
