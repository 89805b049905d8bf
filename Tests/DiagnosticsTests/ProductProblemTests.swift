import BitNetTernary
import BitNetCPUEngine
import BitNetDiagnostics
import Testing

@Suite("Products for measuring and checking kernels")
struct ProductProblemTests {
  @Test("A wrong number is detected, and padding is ignored")
  func wrongProducts() throws {
    let problem = try ProductProblem(rows: 40, columns: 70, tokens: 3)
    #expect(problem.matrix.firstInvalidRow() == nil)
    let (stride, tokens) = (48, 3)
    var products = [Int32](repeating: 7, count: tokens * stride)
    for token in 0..<tokens {
      for row in 0..<40 {
        products[token * stride + row] = (0..<70).reduce(0) { sum, column in
          sum + Int32(problem.matrix.code(row: row, column: column))
            * Int32(problem.codes[token * problem.codeStride + column])
        }
      }
    }
    let right = problem.check(products, stride: stride, tokens: tokens)
    #expect(right.isExact && right.comparedCount == 120 && right.productCount == 120 && right.firstMismatch == nil)
    products[stride + 39] += 1
    products[2 * stride + 39] -= 1
    let wrong = problem.check(products, stride: stride, tokens: tokens)
    #expect(!wrong.isExact && wrong.mismatchCount == 2)
    #expect(wrong.firstMismatch?.row == 39 && wrong.firstMismatch?.token == 1)
    #expect(wrong.firstMismatch.map { $0.found - $0.expected } == 1)
    #expect(problem.check(products, stride: stride, tokens: 1).isExact)
  }

  @Test(
    "The CPU's products are exact with 3200, 8640, 10240 and 27648 rows and columns",
    arguments: [
      (3200, 320), (8640, 160), (10240, 160), (27648, 96), (160, 3200), (160, 8640), (96, 10240), (96, 27648),
    ])
  func products(rows: Int, columns: Int) throws {
    let problem = try ProductProblem(rows: rows, columns: columns, tokens: 9)
    for set in InstructionSet.available {
      for (threads, tokens) in [(1, 1), (2, 9), (3, 2), (8, 3)] {
        let benchmark = CPUKernelBenchmark(threads: threads, instructionSet: set, isQuick: true)
        let measured = benchmark.load(problem).measure(tokens: tokens)
        let check = problem.check(measured.products, stride: measured.stride, tokens: tokens)
        #expect(check.isExact, "\(rows) x \(columns), \(set), \(threads) threads, \(tokens) tokens")
      }
    }
  }
}
