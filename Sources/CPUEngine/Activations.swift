import BitNetTernary

/// Rows of numbers in the workspace, `stride` elements apart.
struct Rows<Element> {
  let base: UnsafeMutablePointer<Element>
  let stride: Int

  subscript(row: Int) -> UnsafeMutablePointer<Element> { base + row * stride }
}

/// Float activations of a slice, `[tokens][width]`.
struct Activations {
  /// What the phase that reads a row does to it first: a phase of its own would cost one more barrier.
  enum Pending {
    case nothing
    /// Adds a product to the row, after the norm if there is one.
    case addition(Product, norm: [Float]?)
    /// Fills the row with the gated activation of a product of gate over up.
    case gating(Product)
  }

  let rows: Rows<Float>
  let width: Int
  var pending: Pending

  init(_ rows: Rows<Float>, width: Int, pending: Pending = .nothing) {
    (self.rows, self.width, self.pending) = (rows, width, pending)
  }

  /// Adds a product, after the norm if there is one, when the activations are read next; until then there is no other
  /// product.
  mutating func add(_ product: Product, _ norm: [Float]?) { pending = .addition(product, norm: norm) }
}

/// Quantised activations of a slice, `[tokens][width padded to 64]`, valid until the next are made.
struct Codes {
  let rows: Rows<Int8>
  /// Of each token's codes, `[tokens]`.
  let sums: UnsafeMutablePointer<Int32>
  /// The factor that activations were multiplied by before rounding, `[tokens]`.
  let scales: UnsafeMutablePointer<Float>
  /// Rows from the codes of one of the matrix's stacked parts to those of the next, where every part has its own
  /// (`[parts][tokens]`); 0 where all parts have the same.
  var partStride = 0
}

/// Exact integer products of a slice with a matrix, `[tokens][rows of the stack]`, valid until the next product.
struct Product {
  let dots: Rows<Int32>
  /// Of the activations, `[tokens]`.
  let scales: UnsafeMutablePointer<Float>
  /// From the scales of one part to those of the next, as in `Codes`.
  let partStride: Int
  let parts: [TernaryMatrix.Part]

  /// A token's products with one of the stacked parts, and the factor that turns them into floats.
  func part(_ index: Int, row t: Int) -> (dots: UnsafePointer<Int32>, factor: Float) {
    let part = parts[index]
    return (UnsafePointer(dots[t] + part.firstRow), Float(part.scale) / scales[index * partStride + t])
  }
}
