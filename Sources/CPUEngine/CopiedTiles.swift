import Inference
import Ternary

/// Copies a mapped model's tiles into memory of the process's own, a few layers a step.
///
/// Pages of a file come in the size, and lie in the memory, that the system chose when it first read them: often 4 KiB, and on a machine with
/// several memories in any of them. The copy is in huge pages, each near the thread that will read it. It takes longer than a token, so it is
/// made behind the first ones, and the first of all waits for nothing.
final class CopiedTiles {
  /// Bytes of tiles below which they stay in caches, where pages matter little.
  private static let worthwhile = 64 << 20
  /// Steps that the whole copy takes.
  private static let steps = 16

  private let buffer: PageBuffer
  /// Bytes copied so far.
  private(set) var byteCount = 0
  private var nextLayer = 0

  /// - Returns: nil when there is no room.
  init?(for weights: ModelWeights) {
    guard let buffer = PageBuffer(count: weights.tileByteCount) else { return nil }
    self.buffer = buffer
  }

  /// Whether copying is likely to make reading faster.
  static func pay(for weights: ModelWeights) -> Bool {
    #if os(Linux)
      weights.tileByteCount >= worthwhile && weights.layers.allSatisfy { $0.matrices.allSatisfy(\.tiles.canReleasePages) }
    #else
      false  // no huge pages
    #endif
  }

  /// Copies the next layers, if any are left; their pages of the file are given back.
  func advance(_ weights: inout ModelWeights, team: ThreadTeam) {
    let count = weights.layers.count
    guard nextLayer < count else { return }
    let end = min(count, nextLayer + (count + Self.steps - 1) / Self.steps)
    let matrices = weights.layers[nextLayer..<end].flatMap(\.matrices)
    let base = buffer.bytes.baseAddress! + byteCount
    // The members' shares of every matrix are those of the forward pass, and the first to write to a page decides where it lies.
    team.run { member in
      var start = base
      for matrix in matrices {
        let target = start
        member.rows(of: matrix) { rows in
          let offset = matrix.byteOffset(ofRow: rows.lowerBound)
          let count = matrix.byteOffset(ofRow: rows.upperBound) - offset
          (target + offset).copyMemory(from: matrix.tiles(ofRows: rows), byteCount: count)
        }
        start += matrix.tiles.count
      }
    }
    for matrix in matrices { matrix.tiles.releasePages() }
    for layer in nextLayer..<end {
      weights.replaceTiles(ofLayer: layer) { matrix in
        let range = byteCount..<byteCount + matrix.tiles.count
        byteCount = range.upperBound
        return buffer.shared.slice(range)!
      }
    }
    nextLayer = end
  }
}
