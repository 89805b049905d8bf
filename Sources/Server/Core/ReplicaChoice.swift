package import BitNet
package import BitNetServing
import BitNetTokenization

extension ServedModel {
  /// How many requests more than the least busy replica has, the one that has seen a prompt's beginning may have.
  private static let patience = 2
  /// The tokens of a prompt that choose among replicas: about a page of the cache.
  private static let beginning = 64

  /// Starts a request on the replica for its prompt, or on another one if that one's queue is full: of requests that
  /// arrive at once, each finds the replicas as busy as they were before.
  package func start(_ request: Request) async throws -> TokenStream {
    let first = replica(for: request.prompt)
    do {
      return try await first.scheduler.start(request)
    } catch let full as SchedulerError {
      guard case .queueFull = full else { throw full }
      for other in replicas where other !== first {
        do { return try await other.scheduler.start(request) } catch SchedulerError.queueFull { continue }
      }
      throw full
    }
  }

  /// The replica that should take a prompt: that of its beginning, whose cache holds what prompts with the same
  /// beginning left there, unless another one has less to do.
  package func replica(for prompt: [TokenID]) -> LanguageModel {
    guard replicas.count > 1 else { return model }
    let loads = replicas.map { replica in
      let load = replica.scheduler.load
      return load.running + load.waiting
    }
    // The steps of FNV-1a, by token: the same in every process, as Swift's own hash is not.
    let hash = prompt.prefix(Self.beginning).reduce(0xCBF2_9CE4_8422_2325 as UInt64) {
      ($0 ^ UInt64(UInt32(bitPattern: $1))) &* 0x100_0000_01B3
    }
    let own = Int((hash >> 32) % UInt64(replicas.count))
    let least = loads.indices.min { loads[$0] < loads[$1] }!
    return replicas[loads[own] <= loads[least] + Self.patience ? own : least]
  }

  /// What all replicas do together.
  var load: Scheduler.Load {
    replicas.dropFirst().reduce(into: model.scheduler.load) { $0.add($1.scheduler.load) }
  }
}
