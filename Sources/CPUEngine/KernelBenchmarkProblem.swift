import BitNetInference
import BitNetTernary

/// A product to measure kernels by: a random ternary matrix, random int8 activations, and what their exact product is.
package struct KernelBenchmarkProblem: Sendable {
  /// How much of a product was compared with the integers, and what came of it.
  package struct Check: Sendable, Equatable {
    /// One number that is not what it should be.
    package struct Mismatch: Sendable, Equatable {
      package let row: Int
      package let token: Int
      package let found: Int32
      package let expected: Int32
    }

    /// Numbers of the product, padding left out, and those of them that were compared.
    package let productCount: Int
    package let comparedCount: Int
    /// Rows compared for every token; for token 0 all were.
    package let sampledRowCount: Int
    package let mismatchCount: Int
    package let firstMismatch: Mismatch?

    package var isExact: Bool { mismatchCount == 0 }
    package var isComplete: Bool { comparedCount == productCount }
  }

  package let rows: Int
  package let columns: Int
  /// Codes of -1, 0 and 1, half of them 0.
  package let matrix: TernaryMatrix
  /// Activations -128…127, `[tokens][codeStride]`, zero from `columns` on.
  package let codes: [Int8]
  /// Bytes from a token to the next: the columns padded to whole 64-byte vectors.
  package let codeStride: Int
  /// The sum of each token's activations.
  package let sums: [Int32]

  /// Weights multiplied on the host for a check, about: a second of work. All of token 0 is checked even if that is more.
  private static let checkedWeightCount = 1 << 28

  /// - Parameters:
  ///   - rows: outputs: 1 to 8,388,608.
  ///   - columns: inputs: as many; beyond, products do not fit 32 bits.
  ///   - tokens: the most that will be multiplied at once: 1 to as many.
  ///   - seed: the same seed gives the same numbers.
  /// - Throws: `EngineError.parameter` naming the first number out of its range.
  package init(rows: Int, columns: Int, tokens: Int, seed: UInt64 = 1) throws {
    for (name, number) in [("rows", rows), ("columns", columns), ("tokens", tokens)] where !(1...(1 << 23) ~= number) {
      throw EngineError.parameter(name: "the number of \(name)", found: "\(number)", expected: "1 to \(1 << 23)")
    }
    self.rows = rows
    self.columns = columns
    var generator = SplitMix64(seed: seed)
    matrix = try TernaryMatrix(random: [rows], columns: columns, scales: [1], using: &generator)

    codeStride = Tile.padded(columns, to: 64)
    var codes = [Int8](repeating: 0, count: tokens * codeStride)
    var sums = [Int32](repeating: 0, count: tokens)
    for token in 0..<tokens {
      var word: UInt64 = 0
      for column in 0..<columns {
        if column % 8 == 0 { word = generator.next() }
        let code = Int8(truncatingIfNeeded: word)
        word >>= 8
        codes[token * codeStride + column] = code
        sums[token] += Int32(code)
      }
    }
    self.codes = codes
    self.sums = sums
  }

  /// Compares a product with sums of integers that are computed here, by the plainest loop there is: all rows of token 0, and all or,
  /// when that were too many, a random choice of rows of the other tokens.
  ///
  /// - Parameters:
  ///   - products: `[tokens][stride]`, rows side by side.
  ///   - stride: at least `rows`.
  ///   - tokens: the first so many of the problem's.
  package func check(_ products: [Int32], stride: Int, tokens: Int) -> Check {
    let affordable = Self.checkedWeightCount / (tokens * columns)
    let sampled = sampledRows(max(1, min(rows, affordable)))
    // Each piece notes what it finds in a place of its own.
    let findings = UnsafeMutablePointer<(count: Int, first: Check.Mismatch?)>.allocate(capacity: rows)
    findings.initialize(repeating: (0, nil), count: rows)
    defer { findings.deallocate() }
    products.withUnsafeBufferPointer { products in
      codes.withUnsafeBufferPointer { codes in
        ThreadTeam(count: CPUEngine.defaultThreads).run { member in
          member.phase(rows, unit: Tile.rows, perMember: 16) { range in
            for row in range {
              for token in 0..<(sampled[row] ? tokens : 1) {
                let expected = matrix.dot(row: row, activations: codes.baseAddress! + token * codeStride)
                let found = products[token * stride + row]
                guard found != expected else { continue }
                if findings[row].first == nil {
                  findings[row].first = Check.Mismatch(row: row, token: token, found: found, expected: expected)
                }
                findings[row].count += 1
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

  /// Which rows are compared for every token: about `count` of them, spread over the matrix.
  private func sampledRows(_ count: Int) -> [Bool] {
    var isSampled = [Bool](repeating: count == rows, count: rows)
    guard count < rows else { return isSampled }
    var generator = SplitMix64(seed: UInt64(rows) << 32 ^ UInt64(columns))
    for _ in 0..<count { isSampled[Int(generator.next() % UInt64(rows))] = true }
    return isSampled
  }
}
