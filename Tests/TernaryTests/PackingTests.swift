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
        let scale = try packer.pack(i2s: $0, block: block, matrixRows: self.rows, rows: rows)
        #expect(scale == fixture.float32("scale")[0])
      }
    }
    #expect(matrix.codes(ofPart: 0) == codes)
  }

  @Test("hold the codes of TQ2_0")
  func tq2() throws {
    let matrix = try matrix { packer, rows in
      try fixture.bytes("tq2_0").withUnsafeBytes {
        let scale = try packer.pack(tq2: $0, matrixRows: self.rows, rows: rows)
        #expect(abs(scale / fixture.float32("scale")[0] - 1) < 1e-3)  // stored as a 16-bit float
      }
    }
    #expect(matrix.codes(ofPart: 0) == codes)
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
        try packer.pack(tq2: bytes, matrixRows: rows, rows: 0..<1)
      }
      #expect(throws: TernaryError.blockLength(columns: 100, multipleOf: 256)) {
        try TilePacker(columns: 100, tiles: tiles.bytes).pack(tq2: bytes, matrixRows: 1, rows: 0..<1)
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
