import BitNetInference
import BitNetTernary

/// Copies a mapped model's tiles into memory of the process's own, a few layers a step.
///
/// Pages of a file come in the size, and lie in the memory, that the system chose when it first read them: often 4 KiB,
/// and on a machine with several memories in any of them. The copy is in huge pages, each near the thread that will
/// read it. It costs as much as a few tokens, and dozens on virtual machines whose host has to find the memory first;
/// so it is made a layer or two at a time, and not for short texts.
final class CopiedTiles {
  /// Bytes of tiles below which they stay in caches, where pages matter little.
  private static let worthwhile = 64 << 20
  /// Steps before the copy begins, and steps that it takes.
  private static let patience = 32
  private static let duration = 32

  private let buffer: PageBuffer
  /// Bytes copied so far.
  private(set) var byteCount = 0
  private var nextLayer = 0
  private var steps = 0

  /// - Returns: nil when there is no room.
  init?(for weights: ModelWeights) {
    guard let buffer = PageBuffer(count: weights.tileByteCount) else { return nil }
    self.buffer = buffer
  }

  /// Whether copying is likely to make reading faster.
  static func pay(for weights: ModelWeights) -> Bool {
    #if os(Linux)
      weights.tileByteCount >= worthwhile
        && weights.layers.allSatisfy { $0.matrices.allSatisfy(\.tiles.canReleasePages) }
    #else
      false  // no huge pages
    #endif
  }

  /// Takes note of a step, and copies the layers whose turn it is.
  func advance(_ weights: inout ModelWeights, team: ThreadTeam) {
    steps += 1
    if steps > Self.patience { copyNext(&weights, team) }
  }

  func finish(_ weights: inout ModelWeights, team: ThreadTeam) {
    while nextLayer < weights.layers.count { copyNext(&weights, team) }
  }

  /// Copies the next layers, if any are left; their pages of the file are given back before others are read.
  private func copyNext(_ weights: inout ModelWeights, _ team: ThreadTeam) {
    let count = weights.layers.count
    let layers = nextLayer..<min(count, nextLayer + (count + Self.duration - 1) / Self.duration)
    guard !layers.isEmpty else { return }
    let matrices = weights.layers[layers].flatMap(\.matrices)
    let base = buffer.bytes.baseAddress! + byteCount
    // The members' shares of every matrix are those of the forward pass, and the first to write to a page decides where
    // it lies.
    team.run { member in
      var start = base
      for matrix in matrices {
        let target = start
        member.rows(of: matrix) { rows in
          let offset = matrix.byteOffset(ofRow: rows.lowerBound)
          let count = matrix.byteOffset(ofRow: rows.upperBound) - offset
          (target + offset).copyMemory(from: matrix.tiles(fromRow: rows.lowerBound), byteCount: count)
        }
        start += matrix.tiles.count
      }
    }
    for matrix in matrices { matrix.tiles.releasePages() }
    for layer in layers {
      weights.replaceTiles(ofLayer: layer) { matrix in
        let range = byteCount..<byteCount + matrix.tiles.count
        byteCount = range.upperBound
        return buffer.shared.slice(range)!
      }
    }
    nextLayer = layers.upperBound
  }
}
