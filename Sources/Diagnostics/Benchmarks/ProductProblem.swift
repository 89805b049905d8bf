import BitNetCPUEngine
import BitNetInference
package import BitNetRandomModels
package import BitNetTernary

/// A product with which kernels are measured and checked: a random ternary matrix, random int8 activations, and their
/// exact product.
package struct ProductProblem: Sendable {
  /// The result of comparing a product with the exact integers.
  package struct Check: Sendable, Equatable {
    /// A number that is wrong.
    package struct Mismatch: Sendable, Equatable {
      package let row: Int
      package let token: Int
      package let found: Int32
      package let expected: Int32
    }

    /// The count of the product's numbers, without padding, and of those that were compared.
    package let productCount: Int
    package let comparedCount: Int
    /// The number of rows that were compared for every token. For token 0, all rows were.
    package let sampledRowCount: Int
    package let mismatchCount: Int
    package let firstMismatch: Mismatch?

    package var isExact: Bool { mismatchCount == 0 }
  }

  /// Codes of -1, 0 and 1, half of them 0, in one part or several stacked parts.
  package let matrix: TernaryMatrix
  package let tokens: Int
  /// Activations -128…127, `[tokens][codeStride]`, zero from the matrix's columns on.
  package let codes: [Int8]
  /// The distance between two tokens' activations, in bytes.
  package let codeStride: Int
  /// The sum of each token's activations.
  package let sums: [Int32]

  /// The rows of all parts, without padding.
  package var rows: Int { matrix.parts.reduce(0) { $0 + $1.rows } }
  package var columns: Int { matrix.columns }

  /// About the number of weights that the host multiplies for a check: a second of work. All of token 0 is checked even
  /// if that is more.
  private static let checkedWeightCount = 1 << 28

  /// - Parameters:
  ///   - rows: outputs of each part: 1 to 8,388,608.
  ///   - columns: inputs: 1 to 8,388,608; products of more do not fit 32 bits.
  ///   - tokens: the most tokens that will be multiplied at once: 1 to 8,388,608.
  ///   - codeUnit: each token's activations are padded to a multiple of this many columns: 64-byte vectors for the
  ///     CPU's kernels, tiles for a GPU's.
  /// - Throws: `EngineError.parameter` for the first number out of its range.
  package init(
    rows: [Int], columns: Int, tokens: Int, codeUnit: Int = 64, using generator: inout SplitMix64
  ) throws {
    for (name, number) in rows.map({ ("rows", $0) }) + [("columns", columns), ("tokens", tokens)]
    where !(1...(1 << 23) ~= number) {
      throw EngineError.parameter(name: "the number of \(name)", found: "\(number)", expected: "1 to \(1 << 23)")
    }
    matrix = try TernaryMatrix(
      random: rows, columns: columns, scales: Array(repeating: 1, count: rows.count), using: &generator)
    self.tokens = tokens
    codeStride = Tile.padded(columns, to: codeUnit)
    var codes = [Int8](repeating: 0, count: tokens * codeStride)
    var sums = [Int32](repeating: 0, count: tokens)
    for token in 0..<tokens {
      for column in 0..<columns {
        let code = Int8(truncatingIfNeeded: generator.next())
        codes[token * codeStride + column] = code
        sums[token] += Int32(code)
      }
    }
    self.codes = codes
    self.sums = sums
  }

  /// A matrix of one part.
  ///
  /// - Parameter seed: the same seed gives the same numbers.
  package init(rows: Int, columns: Int, tokens: Int, seed: UInt64 = 1) throws {
    var generator = SplitMix64(seed: seed)
    try self.init(rows: [rows], columns: columns, tokens: tokens, using: &generator)
  }

  /// The exact products `[tokens][rows]` of some rows of the stacked and padded matrix, computed by the plainest loop.
  /// Rows of padding give 0.
  package func products(tokens: Int, rows: Range<Int>) -> [Int32] {
    codes.withUnsafeBufferPointer { codes in
      (0..<tokens).flatMap { token in
        rows.map { matrix.dot(row: $0, activations: codes.baseAddress! + token * codeStride) }
      }
    }
  }

  /// Compares a product with sums of integers that the plainest loop computes here: all rows of token 0, and all rows
  /// of the other tokens, or a random choice if they are too many.
  ///
  /// - Parameters:
  ///   - products: `[tokens][stride]`, of every row of the stacked and padded matrix.
  ///   - stride: at least the padded rows.
  ///   - tokens: how many of the problem's tokens were multiplied.
  package func check(_ products: [Int32], stride: Int, tokens: Int) -> Check {
    let places = matrix.parts.flatMap { $0.firstRow..<$0.firstRow + $0.rows }
    let rows = places.count
    let affordable = Self.checkedWeightCount / (tokens * columns)
    let sampled = sampledRows(max(1, min(rows, affordable)))
    // Each row has a place of its own for its findings, so that threads share nothing.
    let findings = UnsafeMutablePointer<(count: Int, first: Check.Mismatch?)>.allocate(capacity: rows)
    findings.initialize(repeating: (0, nil), count: rows)
    defer { findings.deallocate() }
    products.withUnsafeBufferPointer { products in
      codes.withUnsafeBufferPointer { codes in
        ThreadTeam(count: CPUEngine.defaultThreads).run { member in
          member.phase(rows, unit: Tile.rows, perMember: 16) { range in
            for index in range {
              let row = places[index]
              for token in 0..<(sampled[index] ? tokens : 1) {
                let expected = matrix.dot(row: row, activations: codes.baseAddress! + token * codeStride)
                let found = products[token * stride + row]
                guard found != expected else { continue }
                if findings[index].first == nil {
                  findings[index].first = Check.Mismatch(row: row, token: token, found: found, expected: expected)
                }
                findings[index].count += 1
              }
            }
          }
        }
      }
    }
    let sampledCount = sampled.count { $0 }
    let all = UnsafeBufferPointer(start: findings, count: rows)
    return Check(
      productCount: rows * tokens, comparedCount: rows + sampledCount * (tokens - 1), sampledRowCount: sampledCount,
      mismatchCount: all.reduce(0) { $0 + $1.count }, firstMismatch: all.lazy.compactMap(\.first).first)
  }

  /// The rows that are compared for every token: about `count` of them, spread over the matrix.
  private func sampledRows(_ count: Int) -> [Bool] {
    var isSampled = [Bool](repeating: count == rows, count: rows)
    guard count < rows else { return isSampled }
    var generator = SplitMix64(seed: UInt64(rows) << 32 ^ UInt64(columns))
    for _ in 0..<count { isSampled[Int(generator.next() % UInt64(rows))] = true }
    return isSampled
  }
}
