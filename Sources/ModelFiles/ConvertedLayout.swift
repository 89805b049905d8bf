import BitNetInference
import BitNetJSON
import BitNetTernary

/// The place of every tensor in a converted file. The configuration alone decides it.
struct ConvertedLayout {
  struct Tensor {
    let name: String
    let type: TensorType
    let shape: [Int]
    /// In bytes from the start of the data.
    let range: Range<Int>
  }

  /// In the order of their data, without holes. Tiles come first, because their sizes keep each other aligned; then the
  /// tables with the padding that they need; then scales, which are known only when all tiles are written; then norms.
  let tensors: [Tensor]
  /// The bytes of all tensors.
  let byteCount: Int

  init(of model: ModelConfiguration) {
    var tensors: [Tensor] = []
    var end = 0
    var paddings = 0
    func append(_ name: String, _ type: TensorType, _ shape: [Int], alignment: Int) {
      let misaligned = end % alignment
      if misaligned != 0 {
        // A tensor, because the format allows no holes.
        let count = alignment - misaligned
        tensors.append(Tensor(name: "padding.\(paddings)", type: .u8, shape: [count], range: end..<end + count))
        paddings += 1
        end += count
      }
      let count = shape.reduce(type.byteCount, *)
      tensors.append(Tensor(name: name, type: type, shape: shape, range: end..<end + count))
      end += count
    }
    let layers = 0..<model.layerCount
    let stacks = layers.flatMap { ConvertedForm.stacks(layer: $0, of: model) }
    for stack in stacks { append(stack.tilesName, .u8, stack.tilesShape, alignment: ConvertedForm.alignment) }
    let table = [model.vocabularySize, model.hiddenSize]
    append(ConvertedForm.embedding, .bf16, table, alignment: ConvertedForm.alignment)
    if !model.tiedEmbedding { append(ConvertedForm.head, .bf16, table, alignment: ConvertedForm.alignment) }
    for stack in stacks { append(stack.scalesName, .f64, [stack.rows.count], alignment: 8) }
    for norm in layers.flatMap({ ConvertedForm.norms(layer: $0, of: model) }) {
      append(norm.name, .f32, [norm.count], alignment: 4)
    }
    append(ConvertedForm.finalNorm, .f32, [model.hiddenSize], alignment: 4)
    self.tensors = tensors
    self.byteCount = end
  }

  /// The first bytes of the file: length and JSON, padded with spaces so that the data starts at a multiple of 64.
  ///
  /// - Throws: `ModelFileError` when the metadata makes the header longer than the format allows.
  func header(metadata: [String: String], file: String) throws(ModelFileError) -> [UInt8] {
    var members = [JSONTree.Member("__metadata__", .object(metadata.map { .init($0.key, .string($0.value)) }))]
    for tensor in tensors {
      let range: JSONTree = [.integer(tensor.range.lowerBound), .integer(tensor.range.upperBound)]
      members.append(
        .init(
          tensor.name,
          [
            "dtype": .string(tensor.type.rawValue), "shape": .array(tensor.shape.map { .integer($0) }),
            "data_offsets": range,
          ]))
    }
    var text: [UInt8]
    do {
      text = try JSONTree.object(members).serialized(sortingNames: true)
    } catch {
      throw ModelFileError(error, file: file, subject: "the header")
    }
    let alignment = ConvertedForm.alignment
    let length = (8 + text.count + alignment - 1) / alignment * alignment - 8
    guard length <= SafetensorsHeader.largestHeader else {
      throw ModelFileError(
        .unsupported, file: file, subject: "the header", finding: "would have \(length) bytes",
        expected: "at most \(SafetensorsHeader.largestHeader): the tokenizer is too large")
    }
    text += [UInt8](repeating: UInt8(ascii: " "), count: length - text.count)
    return withUnsafeBytes(of: UInt64(length).littleEndian, Array.init) + text
  }
}
