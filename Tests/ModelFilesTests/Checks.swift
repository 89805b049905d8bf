import BitNetInference
import BitNetModelFiles
import ModelFilesSupport
import BitNetTernary
import TestSupport
import Testing

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The path of a committed model.
func fixture(_ name: String) -> String { Repository.path("Tests/Fixtures/" + name) }

/// A folder that is removed with the object.
final class TemporaryFolder {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.path + "/ModelFilesTests-\(UInt64.random(in: 0...UInt64.max))"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func callAsFunction(_ name: String) -> String { path + "/" + name }

  @discardableResult
  func write(_ name: String, _ bytes: [UInt8]) throws -> String {
    try Data(bytes).write(to: URL(filePath: self(name)))
    return self(name)
  }

  func read(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: self(name)))) }

  var names: [String] { get throws { try FileManager.default.contentsOfDirectory(atPath: path).sorted() } }
}

extension TinyModel {
  /// Writes the model as a Hugging Face folder.
  func write(to folder: TemporaryFolder) throws {
    try folder.write("config.json", Array(configJSON.utf8))
    try folder.write("model.safetensors", file.file())
  }
}

/// Expects a refusal about `subject`, or about a line of it, whose finding contains `finding` and whose expectation
/// contains `expected`.
func expectRefusal(
  _ subject: String, _ finding: String, expected: String = "", sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) {
  do {
    try body()
    Issue.record("expected a refusal about \(subject)", sourceLocation: sourceLocation)
  } catch let error as ModelFileError {
    #expect(
      error.subject == subject || error.subject.hasPrefix(subject + " at line "), "\(error)",
      sourceLocation: sourceLocation)
    // Libraries disagree on whether a text contains the empty one.
    #expect(finding.isEmpty || error.finding.contains(finding), "\(error)", sourceLocation: sourceLocation)
    #expect(expected.isEmpty || (error.expected ?? "").contains(expected), "\(error)", sourceLocation: sourceLocation)
    #expect(error.description.contains("\n") == false, "one sentence: \(error)", sourceLocation: sourceLocation)
  } catch {
    Issue.record("an error of another type: \(error)", sourceLocation: sourceLocation)
  }
}

/// Everything in a model's weights, to be compared bit for bit.
struct WeightBits: Equatable {
  var configuration: ModelConfiguration
  var tables: [[UInt8]]
  let norms: [[UInt32]]
  let scales: [UInt64]
  let tiles: [[UInt8]]

  init(_ weights: ModelWeights) {
    func bytes(_ shared: SharedBytes) -> [UInt8] { shared.withUnsafeBytes { Array($0) } }
    let matrices = weights.layers.flatMap(\.matrices)
    configuration = weights.configuration
    tables = [bytes(weights.embedding.bytes), bytes(weights.head.bytes)]
    norms =
      (weights.layers.flatMap { layer in NormRole.allCases.map { layer[$0] ?? [] } }
      + [weights.finalNorm]).map { $0.map(\.bitPattern) }
    scales = matrices.flatMap { $0.parts.map(\.scale.bitPattern) }
    tiles = matrices.map { bytes($0.tiles) }
  }
}
