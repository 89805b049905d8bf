import BitNetJSON

extension JSONDocument {
  /// Parses the JSON of a model's file.
  ///
  /// - Parameters:
  ///   - bytes: the text; it is copied.
  ///   - file: the file's path, for errors.
  ///   - subject: the name of the text, for errors: "the file", "the header".
  ///   - limit: the largest size in bytes.
  /// - Throws: `ModelFileError` of kind `.malformed` with line, column and field.
  convenience init(
    _ bytes: UnsafeRawBufferPointer, file: String, subject: String = "the file", limit: Int
  ) throws(ModelFileError) {
    // Checked here too, before the copy.
    guard bytes.count <= limit else {
      throw ModelFileError(
        .malformed, file: file, subject: subject, finding: "is \(bytes.count) bytes long", expected: "at most \(limit)")
    }
    do {
      try self.init(Array(bytes), limits: JSONLimits(byteCount: limit))
    } catch {
      throw ModelFileError(error, file: file, subject: subject)
    }
  }

  /// Parses a file's JSON and reads it by `body`, whose errors become those of the file.
  static func read<Result>(
    _ bytes: UnsafeRawBufferPointer, file: String, subject: String = "the file", limit: Int,
    _ body: (JSONValue) throws(JSONError) -> Result
  ) throws(ModelFileError) -> Result {
    let document = try JSONDocument(bytes, file: file, subject: subject, limit: limit)
    do {
      return try body(document.root)
    } catch {
      throw ModelFileError(error, file: file, subject: subject)
    }
  }
}

extension ModelFileError {
  init(_ error: JSONError, file: String, subject: String = "the file") {
    self.init(
      .malformed, file: file, subject: error.subject(in: subject), finding: "is \(error.found)",
      expected: error.expected)
  }
}

extension JSONValue {
  /// A token id or a list of them: checkpoints have both.
  func tokenIDs() throws(JSONError) -> [Int32] {
    guard kind == .array else { return [try integer(as: Int32.self)] }
    var ids: [Int32] = []
    for element in try elements() { ids.append(try element.integer(as: Int32.self)) }
    return ids
  }

  func integers() throws(JSONError) -> [Int] {
    var numbers: [Int] = []
    for element in try elements() { numbers.append(try element.integer()) }
    return numbers
  }

  func strings() throws(JSONError) -> [String] {
    var strings: [String] = []
    for element in try elements() { strings.append(try element.string()) }
    return strings
  }

  /// An object of strings by name.
  ///
  /// - Throws: also when two names differ only in their Unicode normalisation, because Swift's dictionaries take them
  ///   for one.
  func stringsByName() throws(JSONError) -> [String: String] {
    var strings: [String: String] = [:]
    for (name, value) in try members() {
      guard strings.updateValue(try value.string(), forKey: try name.string()) == nil else {
        throw value.error(found: "given twice, in two Unicode normalisations of its name", expected: "each name once")
      }
    }
    return strings
  }
}
