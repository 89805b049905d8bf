import BitNetInference
import BitNetJSON
import Dispatch
import Foundation

/// The lines of a batch, read one after another while others are answered.
final class BatchSource: @unchecked Sendable {
  // Only jobs of the queue touch the reader and the descriptor.
  private let queue = DispatchQueue(label: "BitNet.batch.source")
  private var reader: LineReader
  private let descriptor: Int32
  private var returned = 0
  /// The file that has the answers of an earlier run; nil for all lines.
  private let earlier: BatchOutput?
  /// How many lines with an answer have been passed over.
  private var passed = 0

  /// - Parameters:
  ///   - path: a file, or "-" for standard input.
  ///   - earlier: the lines that have an answer there are passed over.
  init(_ path: String, after earlier: BatchOutput? = nil) throws {
    let input: ByteInput
    if path == "-" {
      (descriptor, input) = (STDIN_FILENO, .standard)
    } else {
      descriptor = open(path, O_RDONLY | O_CLOEXEC)
      guard descriptor >= 0 else { throw CommandError.unopened(path) }
      input = ByteInput(descriptor: descriptor, name: path)
    }
    reader = LineReader(input)
    self.earlier = earlier
  }

  deinit { if descriptor != STDIN_FILENO { close(descriptor) } }

  struct Line: Sendable {
    /// The line's number in the input, from 1.
    let number: Int
    /// How many lines were returned before it.
    let index: Int
    /// Its bytes, unless it has too many.
    let bytes: Result<[UInt8], LineTooLongError>
  }

  /// The next line that is not empty and has no answer yet; nil at the end. Waits for the program at the other end of a
  /// pipe.
  func next() async throws -> Line? {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Result { try self.read() }) }
    }
  }

  /// As `next`, on the caller's thread; never beside it.
  ///
  /// - Throws: `CommandError` also if the earlier answers are those of another input.
  func read() throws -> Line? {
    while let bytes = try readLine() {
      let isBlank = (try? bytes.get().allSatisfy { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") }) ?? false
      if isBlank { continue }
      if let earlier, earlier.answered[reader.lineNumber] != nil {
        try earlier.checkName(ofLine: reader.lineNumber, try? bytes.get())
        passed += 1
        continue
      }
      returned += 1
      return Line(number: reader.lineNumber, index: returned - 1, bytes: bytes)
    }
    if let earlier, passed < earlier.answered.count {
      let others = plural(earlier.answered.count - passed, "line")
      throw CommandError(
        "\(earlier.name) has answers of \(others) that the input does not have; expected the input of the earlier run, "
          + "or a new file for the answers")
    }
    return nil
  }

  private func readLine() throws -> Result<[UInt8], LineTooLongError>? {
    do {
      return try reader.next().map { .success(Array($0)) }
    } catch let error as LineTooLongError {
      try reader.skipLine()
      return .failure(error)
    }
  }

  /// The number of lines of a file that are not empty and have no answer yet; nil for a pipe.
  static func count(_ path: String, after earlier: BatchOutput) throws -> Int? {
    var status = stat()
    guard path != "-", stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    let source = try BatchSource(path, after: earlier)
    var count = 0
    while try source.read() != nil { count += 1 }
    return count
  }
}
