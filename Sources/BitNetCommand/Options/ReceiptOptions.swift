import ArgumentParser
import BitNet
import BitNetModelFiles
import Foundation

/// Options for receipts of generations.
struct ReceiptOptions: ParsableArguments {
  @Option(
    name: .customLong("receipt"),
    help: ArgumentHelp(
      "Append a receipt, a line of JSON that `bitnet audit` checks, to this file for each answer.", valueName: "file"))
  var file: String?

  @Flag(
    name: .customLong("receipt-digests"),
    help: "Put a digest of each token's logits into receipts, which takes time for each token.")
  var digests = false

  @Option(
    name: .customLong("receipt-key"),
    help: ArgumentHelp(
      "Sign receipts with this Ed25519 key: a PEM file that `openssl genpkey -algorithm ed25519` writes.",
      valueName: "file"))
  var key: String?

  /// - Parameter other: whether receipts are wanted elsewhere than in `file`.
  func check(other: Bool = false) throws {
    guard file == nil, !other, let option = digests ? "--receipt-digests" : key != nil ? "--receipt-key" : nil else {
      return
    }
    throw ValidationError("\(option) is given without --receipt; expected both.")
  }

  /// The log probabilities to compute: those for digests, if no others were asked for.
  func logProbabilities(_ other: Int? = nil) -> Int? { other ?? (digests ? 0 : nil) }

  /// Writes receipts; nil if there are to be none.
  ///
  /// - Throws: an error for a key or a file that cannot be used, before anything is generated.
  func writer() throws -> ReceiptWriter? {
    guard let file else { return nil }
    return try ReceiptWriter(path: file, key: signer())
  }

  /// The key that signs receipts; nil for receipts without a signature.
  func signer() throws -> ReceiptKey? { try key.map { (path) throws in try ReceiptKey(secretFile: path) } }
}

extension ReceiptKey {
  /// Reads the private key of `--receipt-key`.
  init(secretFile path: String) throws {
    guard Self.isAvailable else { throw CommandError("--receipt-key: \(Self.unavailable)") }
    let text = try ByteInput.text(of: path)
    do { try self.init(pem: text, kind: .secret) } catch { throw CommandError("\(path): \(error)") }
  }
}

/// Appends receipts to a file.
struct ReceiptWriter {
  private let output: ByteOutput
  private let key: ReceiptKey?

  init(path: String, key: ReceiptKey?) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw CommandError.unopened(path, for: "writing") }
    output = ByteOutput(descriptor: descriptor, name: path)
    self.key = key
    if try Self.endsInsideLine(path) { try output.write("\n") }
  }

  /// Whether a file's last line is torn, as by a process that was killed while it wrote.
  private static func endsInsideLine(_ path: String) throws -> Bool {
    var status = stat()
    guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG, status.st_size > 0 else { return false }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw CommandError.system("\(path) cannot be read") }
    defer { close(descriptor) }
    var last: UInt8 = 0
    return pread(descriptor, &last, 1, status.st_size - 1) == 1 && last != UInt8(ascii: "\n")
  }

  /// Writes the receipt of a run; nothing if the run was stopped before its first token.
  func write(_ run: GenerationRun) throws {
    guard let receipt = run.receipt else { return }
    try output.write("\(try key?.sign(receipt) ?? receipt)\n")
  }
}
