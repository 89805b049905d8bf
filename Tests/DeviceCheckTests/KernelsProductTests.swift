import BitNetCUDAEngine
import BitNetDeviceCheck
import Testing

extension KernelTests {
  @Suite("Products of ternary matrices")
  struct ProductTests {
    @Test(arguments: Products.Path.allCases, [Products.Outcome.project, .add, .activate, .exact])
    func randomShapes(path: Products.Path, outcome: Products.Outcome) {
      KernelTests.run(0..<24) { try ProductCheck(path, outcome, &$0) }
    }

    @Test("A hidden row as long as a large model's", arguments: Products.Path.allCases, [Products.Outcome.add, .exact])
    func longRows(path: Products.Path, outcome: Products.Outcome) {
      KernelTests.run(100..<102) { try ProductCheck(path, outcome, &$0, shape: ([40], 7000), tokens: $0.int(1...20)) }
    }

    @Test("Every split of the smallest shapes", arguments: [Products.Path.gemv, .few], [1, 2, 4, 8])
    func smallShapes(path: Products.Path, split: Int) {
      KernelTests.run(200..<216) { generator in
        let rows = generator.int(1...33), columns = generator.int(1...140)
        let outcome: Products.Outcome = split < 8 && generator.chance(50) ? .activate : .exact
        let parts = outcome == .activate ? [rows, rows] : [rows]
        var product = try ProductCheck(path, outcome, &generator, shape: (parts, columns))
        product.split = split
        product.blocks = generator.int(1...3)
        return product
      }
    }
  }
}
