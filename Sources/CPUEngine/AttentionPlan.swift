import BitNetInference
import BitNetTernary
import CBitNetTernary

/// How the attention of a slice of tokens is cut into pieces of work; the same in all layers. Layers with a window skip
/// the chunks before it.
///
/// A chunk of keys and values of all heads is contiguous. A piece therefore goes through the chunks of a sequence in
/// their order, and in each chunk through its heads: one stream, as fast as memory is read.
/// - Successive tokens of a prompt share keys and values: a piece computes some tokens for one head.
/// - One of many sequences is a piece.
/// - A sequence that is much of the work is cut: pieces compute a few heads of a few chunks, whose results wait until
///   all are there. The canonical order combines chunks in ascending order, whichever thread computed them.
final class AttentionPlan {
  struct Piece {
    /// Of the slice.
    var tokens: Range<Int>
    /// Groups of query heads.
    var groups: Range<Int>
    /// For part of a token's attention; nil for all of it.
    var part: Part?
  }

  /// Part of a cut token's attention.
  struct Part {
    /// Which parts, `[chunks][groups]`.
    var range: Range<Int>
    var cut: Cut
  }

  /// Where a cut token's partials are, `[groups][chunks]`.
  struct Cut {
    /// The token's chunks.
    var chunks: Int
    /// The first partial.
    var partials: Int
  }

  /// The results of a cut token and a query head, to be combined.
  struct Combination {
    let token: Int
    let group: Int
    /// Of the group's query heads.
    let query: Int
    let cut: Cut
  }

  /// Tokens of a prompt that a piece takes together: their partial results stay in a second-level cache.
  static let tokensTogether = 8
  /// Chunks up to which a token is not cut, nor its heads computed together.
  static let few = 4
  /// Most bytes of partials; beyond, tokens are not cut.
  private static let limit = 128 << 20

  private(set) var pieces: [Piece] = []
  private(set) var combinations: [Combination] = []
  private var buffer: PageBuffer?
  /// Of cut tokens, `layout.partialCount` floats each; nil if no token has been cut.
  var partials: UnsafeMutablePointer<Float>? { buffer?.bytes.bindMemory(to: Float.self).baseAddress }

  /// Plans the attention of a slice, and makes room for its partials.
  func prepare(for tokens: [CPUForwardPass.Token], _ layout: CachePage.Layout, threads: Int) {
    pieces.removeAll(keepingCapacity: true)
    combinations.removeAll(keepingCapacity: true)
    let groups = layout.queryGroupCount
    let total = tokens.reduce(0) { $0 + $1.chunkCount } * groups
    var partialCount = 0
    var first = 0
    while first < tokens.count {
      var end = first + 1
      while end < tokens.count, end - first < Self.tokensTogether, tokens[end].follows(tokens[end - 1]) { end += 1 }
      defer { first = end }
      let chunks = tokens[first].chunkCount
      let partialBytes = 4 * layout.partialCount * (partialCount + chunks * groups)
      if end - first > 1 || chunks <= Self.few {
        for group in 0..<groups { pieces.append(Piece(tokens: first..<end, groups: group..<group + 1)) }
      } else if threads == 1 || chunks * groups <= total / (3 * threads) {
        pieces.append(Piece(tokens: first..<end, groups: 0..<groups))
      } else if partialBytes <= Self.limit, reserve(partialBytes) {
        let cut = Cut(chunks: chunks, partials: partialCount)
        let length = max(1, total / (16 * threads))
        for start in stride(from: 0, to: chunks * groups, by: length) {
          let part = Part(range: start..<min(start + length, chunks * groups), cut: cut)
          pieces.append(Piece(tokens: first..<end, groups: 0..<groups, part: part))
        }
        for group in 0..<groups {
          for query in 0..<layout.queryGroup(group).count {
            combinations.append(Combination(token: first, group: group, query: query, cut: cut))
          }
        }
        partialCount += chunks * groups
      } else {
        for group in 0..<groups { pieces.append(Piece(tokens: first..<end, groups: group..<group + 1)) }
      }
    }
  }

  private func reserve(_ byteCount: Int) -> Bool {
    guard byteCount > buffer?.bytes.count ?? 0 else { return true }
    // With room for twice the context, so that growing is rare; unused pages take no memory. What was there before is
    // not needed: nothing has been computed yet.
    guard let larger = PageBuffer(count: 2 * byteCount) else { return false }
    buffer = larger
    return true
  }
}

extension CPUForwardPass.Token {
  /// Chunks up to the last one that it attends to.
  var chunkCount: Int { (end - 1) / attentionChunkLength + 1 }

  /// Whether it comes right after another token, with whose keys and values it shares the cache.
  fileprivate func follows(_ other: CPUForwardPass.Token) -> Bool {
    position == other.position + 1 && pages[0] == other.pages[0]
  }
}

extension CachePage.Layout {
  /// Parts of the query heads that share a key/value head, of at most CTERNARY_MAX_GROUP heads each.
  private var groupsPerHead: Int { (group + Int(CTERNARY_MAX_GROUP) - 1) / Int(CTERNARY_MAX_GROUP) }

  /// Groups of query heads that the kernels compute together.
  var queryGroupCount: Int { heads * groupsPerHead }

  /// The key/value head of a group, its first query head, and how many there are.
  func queryGroup(_ index: Int) -> (head: Int, firstQuery: Int, count: Int) {
    let (head, part) = index.quotientAndRemainder(dividingBy: groupsPerHead)
    let first = part * Int(CTERNARY_MAX_GROUP)
    return (head, head * group + first, min(group - first, Int(CTERNARY_MAX_GROUP)))
  }

  /// Partials that a member has at a time: those of its piece, and one more.
  var scratchPartials: Int { max(AttentionPlan.tokensTogether, queryGroupCount) + 1 }
}
