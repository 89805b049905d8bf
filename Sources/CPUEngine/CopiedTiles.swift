import BitNetInference
import BitNetTernary

/// Copies a mapped model's tiles into the process's own memory, a few layers a step.
///
/// The system chooses the size and the memory node of a file's pages when it first reads them: often 4 KiB, on any
/// node. The copy is in huge pages, each near the thread that will read it. Copying takes as long as a few tokens, or
/// dozens on virtual machines whose host has to find the memory first; so it is done a layer or two at a time, and not
/// for short texts.
final class CopiedTiles {
  /// Fewer bytes of tiles than this stay in caches, where pages matter little.
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

  /// Counts a step, and copies the layers that are next.
  func advance(_ weights: inout ModelWeights, team: ThreadTeam) {
    steps += 1
    if steps > Self.patience { copyNext(&weights, team) }
  }

  func finish(_ weights: inout ModelWeights, team: ThreadTeam) {
    while nextLayer < weights.layers.count { copyNext(&weights, team) }
  }

  /// Copies the next layers, if any are left, and gives their pages of the file back before others are read.
  private func copyNext(_ weights: inout ModelWeights, _ team: ThreadTeam) {
    let count = weights.layers.count
    let layers = nextLayer..<min(count, nextLayer + (count + Self.duration - 1) / Self.duration)
    guard !layers.isEmpty else { return }
    let matrices = weights.layers[layers].flatMap(\.matrices)
    let base = buffer.bytes.baseAddress! + byteCount
    // Members copy the shares that they read in the forward pass: the first thread to write to a page decides its
    // memory node.
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
