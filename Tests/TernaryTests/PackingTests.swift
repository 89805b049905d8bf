import BitNetTernary
import Testing

@Suite("Packed tiles")
struct PackingTests {
  @Test("rows of a matrix are in the bytes that the packed layout puts them in, also where they wrap around")
  func packedRows() {
    for count in [1, 2, 3, 16, 50] {
      for start in 0..<4 * count {
        for end in start + 1...4 * count {
          let ranges = TilePacker.packedRows(of: start..<end, count: count)
          let expected = Set((start..<end).map { $0 % count })
          #expect(Set(ranges.flatMap { Array($0) }) == expected && ranges.reduce(0) { $0 + $1.count } == expected.count)
        }
      }
    }
  }

  let fixture: BlockFixture
  let rows: Int
  let columns: Int
  let codes: [Int8]

  init() throws {
    fixture = try BlockFixture("packings")
    let shape = fixture.shape("codes")
    rows = shape[0]
    columns = shape[1]
    codes = fixture.int8("codes")
  }

  /// Packs the whole matrix in pieces of different sizes, to show that the pieces do not matter.
  func matrix(_ pack: (TilePacker, Range<Int>) throws -> Void) throws -> TernaryMatrix {
    let tiles = AlignedBuffer(count: TernaryMatrix.byteCount(rows: [rows], columns: columns))
    let packer = TilePacker(columns: columns, tiles: tiles.bytes)
    var row = 0
    for step in [1, 16, 7] + [Int](repeating: 11, count: rows) where row < rows {
      let next = min(rows, row + step)
      try pack(packer, row..<next)
      row = next
    }
    return try TernaryMatrix(rows: [rows], columns: columns, scales: [1], tiles: tiles.shared)
  }

  @Test("give back the codes they were packed from")
  func codesRoundTrip() throws {
    let matrix = try matrix { packer, rows in
      try codes[rows.lowerBound * columns..<rows.upperBound * columns].withUnsafeBufferPointer {
        try packer.pack(codes: $0, rows: rows)
      }
    }
    #expect(matrix.codes(ofPart: 0) == codes)
    #expect(matrix.firstInvalidRow() == nil)
  }

  @Test("are those of the reference GPU kernel")
  func tilesAreThoseOfTheReferenceGPUKernel() throws {
    let matrix = try matrix { packer, rows in
      try codes[rows.lowerBound * columns..<rows.upperBound * columns].withUnsafeBufferPointer {
        try packer.pack(codes: $0, rows: rows)
      }
    }
    #expect(matrix.tiles.withUnsafeBytes { Array($0) } == fixture.bytes("gpu_int2"))
  }

  @Test("hold the codes of the Hugging Face layout")
  func huggingFace() throws {
    let matrix = try matrix { packer, rows in
      try fixture.bytes("hf_packed").withUnsafeBytes {
        try packer.pack(huggingFace: $0, matrixRows: self.rows, rows: rows)
      }
    }
    #expect(matrix.codes(ofPart: 0) == codes)
  }

  @Test(
    "hold the codes of I2_S with either block length",
    arguments: [(TilePacker.I2SBlock.x86, "i2_s_x86"), (.arm, "i2_s_arm")])
  func i2s(_ block: TilePacker.I2SBlock, _ name: String) throws {
    let matrix = try matrix { packer, rows in
      try fixture.bytes(name).withUnsafeBytes {
        try packer.pack(i2s: $0, block: block, matrixRows: self.rows, rows: rows)
        #expect(try TilePacker.i2sScale($0, count: codes.count) == fixture.float32("scale")[0])
      }
    }
    #expect(matrix.codes(ofPart: 0) == codes)
  }

  @Test("hold the codes of TQ1_0 and TQ2_0", arguments: [(TilePacker.TQ.tq1, "tq1_0"), (.tq2, "tq2_0")])
  func tq(_ kind: TilePacker.TQ, _ name: String) throws {
    let blocks = fixture.bytes(name)
    let scale = blocks.withUnsafeBytes { kind.scale(of: $0) }
    #expect(abs(scale / fixture.float32("scale")[0] - 1) < 1e-3)  // stored as a 16-bit float
    let matrix = try matrix { packer, rows in
      try blocks.withUnsafeBytes {
        try packer.pack(kind, $0, scale: scale, matrixRows: self.rows, rows: rows)
      }
    }
    #expect(matrix.codes(ofPart: 0) == codes)
  }

  @Test("read a block without a scale as zeros, and refuse one with another scale")
  func scalesOfBlocks() throws {
    var blocks = fixture.bytes("tq2_0")
    let scale = blocks.withUnsafeBytes { TilePacker.TQ.tq2.scale(of: $0) }
    func pack() throws -> TernaryMatrix {
      try matrix { packer, rows in
        try blocks.withUnsafeBytes { try packer.pack(.tq2, $0, scale: scale, matrixRows: self.rows, rows: rows) }
      }
    }
    (blocks[64], blocks[65]) = (0, 0)
    #expect(blocks.withUnsafeBytes { TilePacker.TQ.tq2.scale(of: $0) } == scale)
    #expect(try pack().codes(ofPart: 0) == [Int8](repeating: 0, count: 256) + codes[256...])
    blocks[3 * 132 + 65] ^= 1
    #expect { try pack() } throws: { error in
      if case .unevenScale(row: 3, _, expected: scale)? = error as? TernaryError { true } else { false }
    }
  }

  @Test("can be stored with the halves of each head interleaved")
  func interleavedHalves() throws {
    let order = RowOrder.interleavedHalves(headSize: 8)
    #expect((0..<8).map(order.stored) == [0, 2, 4, 6, 1, 3, 5, 7])
    let matrix = try matrix { packer, rows in
      try fixture.bytes("i2_s_x86").withUnsafeBytes {
        try packer.pack(i2s: $0, block: .x86, matrixRows: self.rows, rows: rows, order: order)
      }
    }
    let expected = (0..<rows).flatMap { codes[order.stored($0) * columns..<(order.stored($0) + 1) * columns] }
    #expect(matrix.codes(ofPart: 0) == expected)
  }

  @Test("refuse codes other than -1, 0 and 1, and name their row")
  func invalidCodesAreRefused() throws {
    var packed = fixture.bytes("hf_packed")
    packed[3 * columns + 5] |= 0b1100
    #expect(throws: TernaryError.invalidCode(row: rows / 4 + 3, value: 3)) {
      try matrix { packer, rows in
        try packed.withUnsafeBytes { try packer.pack(huggingFace: $0, matrixRows: self.rows, rows: rows) }
      }
    }
    var wrong = codes
    wrong[9 * columns] = 2
    #expect(throws: TernaryError.invalidCode(row: 9, value: 3)) {
      try matrix { packer, rows in
        try wrong[rows.lowerBound * columns..<rows.upperBound * columns].withUnsafeBufferPointer {
          try packer.pack(codes: $0, rows: rows)
        }
      }
    }
  }

  @Test("refuse data of the wrong size")
  func wrongSizesAreRefused() {
    let tiles = AlignedBuffer(count: TernaryMatrix.byteCount(rows: [rows], columns: columns))
    let packer = TilePacker(columns: columns, tiles: tiles.bytes)
    let short = [UInt8](repeating: 0, count: 100)
    short.withUnsafeBytes { bytes in
      #expect(throws: TernaryError.byteCount(found: 100, expected: rows / 4 * columns)) {
        try packer.pack(huggingFace: bytes, matrixRows: rows, rows: 0..<1)
      }
      #expect(throws: TernaryError.byteCount(found: 100, expected: rows * columns / 4 + 32)) {
        try packer.pack(i2s: bytes, block: .x86, matrixRows: rows, rows: 0..<1)
      }
      #expect(throws: TernaryError.byteCount(found: 100, expected: rows * columns / 256 * 66)) {
        try packer.pack(.tq2, bytes, scale: 1, matrixRows: rows, rows: 0..<1)
      }
      #expect(throws: TernaryError.blockLength(columns: 100, multipleOf: 256)) {
        try TilePacker(columns: 100, tiles: tiles.bytes).pack(.tq2, bytes, scale: 1, matrixRows: 1, rows: 0..<1)
      }
    }
  }

  @Test("report the first row with an invalid code")
  func theFirstInvalidRowIsFound() throws {
    let good = try matrix { packer, rows in
      try fixture.bytes("hf_packed").withUnsafeBytes {
        try packer.pack(huggingFace: $0, matrixRows: self.rows, rows: rows)
      }
    }
    for word in [0, 8, 17, 31, 32 * 16 * 3 + 5] {
      let copy = AlignedBuffer(count: good.tiles.count)
      good.tiles.withUnsafeBytes { copy.bytes.copyMemory(from: $0) }
      copy.bytes[4 * word + 2] &= 0b1100_1111
      let broken = try TernaryMatrix(rows: [rows], columns: columns, scales: [1], tiles: copy.shared)
      let t = word % 32
      #expect(broken.firstInvalidRow() == word / 32 / 16 * 16 + t / 16 * 8 + t % 8)
    }
  }
}
