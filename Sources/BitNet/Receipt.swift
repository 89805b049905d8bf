package import BitNetConstraints
import BitNetHash
package import BitNetInference
import BitNetJSON
import BitNetModelFiles

/// What went into a generation and what came out, so that anyone who has the model can check it later.
///
/// A receipt names the model by its digest and the version of the arithmetic, and holds the ids of the prompt and of
/// the generated tokens, the sampling parameters with the seed, the limits and stops, and why the generation ended. The
/// same receipt always has the same bytes (RFC 8785), of which it states the SHA-256. `bitnet audit` recomputes the
/// tokens; Documentation/reproducibility.md says what that proves.
public struct Receipt: Sendable, Equatable, CustomStringConvertible {
  package var fingerprint: ModelFingerprint
  package var prompt: [TokenID]
  /// 1 or more.
  package var output: [TokenID]
  package var sampling: SamplingParameters
  /// Numbers that were added to logits; in ascending order of their tokens.
  package var biases: [TokenBias]
  /// What the text had to look like; nil for any text.
  package var format: TextConstraint?
  /// The most tokens that the generation could have.
  package var limit: Int
  /// Ascending.
  package var stopTokens: [TokenID]
  package var stopTexts: [String]
  /// `stop`, `length`, or `interrupted` where the reader left before the end.
  package var finish: String
  /// The bits of each generated token's log probability, in eight hexadecimal digits; nil if none were computed. They
  /// depend on all logits of the position.
  package var tokenDigests: [String]?
  package var signature: ReceiptSignature?

  /// The receipt as one line of JSON, without the line's end.
  public var description: String { String(decoding: bytes(true), as: UTF8.self) }

  /// What is signed.
  package var signedBytes: [UInt8] { bytes(false) }

  package static let interrupted = "interrupted"
  static let version = "swift-bitnet receipt 1"
  /// Receipts are at most as long as a prompt and an output of 2^20 tokens each.
  package static let largestSize = 32 << 20

  /// A receipt of a generation, or of its beginning.
  ///
  /// - Parameters:
  ///   - tokens: the generated tokens: 1 or more.
  ///   - finish: nil if the generation was left before its end.
  package init(_ record: GenerationRecord, tokens: [SampledToken], finish: FinishReason?) {
    fingerprint = record.fingerprint
    prompt = record.prompt
    output = tokens.map(\.token)
    sampling = record.sampling
    biases = record.biases
    format = record.format
    limit = record.limit
    stopTokens = record.stopTokens.sorted()
    stopTexts = record.stopTexts
    self.finish = finish?.description ?? Self.interrupted
    let digests = tokens.compactMap { $0.logProbability.map(Self.digest) }
    tokenDigests = digests.count == tokens.count ? digests : nil
  }

  /// The digest of a token with this log probability.
  static func digest(_ logProbability: Float) -> String {
    let digits = String(logProbability.bitPattern, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }

  /// - Parameter isWhole: whether the hash and the signature are included.
  private func bytes(_ isWhole: Bool) -> [UInt8] {
    func ids(_ tokens: [TokenID]) -> JSONTree { .array(tokens.map { .integer(Int64($0)) }) }
    func number(_ value: Float) -> JSONTree { .number(Double(value)) }
    var parameters: [JSONTree.Member] = [
      .init("temperature", number(sampling.temperature)), .init("top_k", .integer(sampling.topK)),
      .init("top_p", number(sampling.topP)), .init("min_p", number(sampling.minP)),
      .init("repetition_penalty", number(sampling.repetitionPenalty)),
      // As text: a number of JSON is a Double, which cannot hold all seeds.
      .init("seed", .string("\(sampling.seed)")),
    ]
    for (name, penalty) in [
      ("presence_penalty", sampling.presencePenalty), ("frequency_penalty", sampling.frequencyPenalty),
    ] where penalty != 0 { parameters.append(.init(name, number(penalty))) }
    var members: [JSONTree.Member] = [
      .init("receipt", .string(Self.version)),
      .init(
        "model",
        ["arithmetic": .integer(fingerprint.arithmetic), "digest": .string(fingerprint.digest.description)]),
      .init("prompt", ids(prompt)),
      .init("output", ids(output)),
      .init("sampling", .object(parameters)),
      .init("max_tokens", .integer(limit)),
      .init("stop", ["tokens": ids(stopTokens), "texts": .array(stopTexts.map { .string($0) })]),
      .init("finish_reason", .string(finish)),
    ]
    // Members that most receipts have no need of are left out there.
    if !biases.isEmpty {
      members.append(.init("logit_bias", .object(biases.map { .init("\($0.token)", number($0.value)) })))
    }
    if let format { members.append(.init("response_format", format.receiptTree)) }
    if let tokenDigests { members.append(.init("token_digests", .array(tokenDigests.map { .string($0) }))) }
    if isWhole {
      members.append(.init("sha256", .string(SHA256().digits(of: String(decoding: bytes(false), as: UTF8.self)))))
      if let signature {
        members.append(
          .init("signature", ["public_key": .string(signature.publicKey), "ed25519": .string(signature.value)]))
      }
    }
    // Only numbers that are not finite or beyond 2^53 throw, and no checked parameter is.
    return (try? JSONTree.object(members).canonical()) ?? []
  }
}

/// An Ed25519 signature (RFC 8032) of a receipt's bytes without its hash and signature.
package struct ReceiptSignature: Sendable, Equatable {
  /// 32 bytes in hexadecimal digits.
  package var publicKey: String
  /// 64 bytes in hexadecimal digits.
  package var value: String

  package init(publicKey: String, value: String) {
    self.publicKey = publicKey
    self.value = value
  }
}

/// What a generation depends on.
package final class GenerationRecord: Sendable {
  package let fingerprint: ModelFingerprint
  package let prompt: [TokenID]
  package let sampling: SamplingParameters
  package let limit: Int
  package let stopTokens: Set<TokenID>
  package let stopTexts: [String]
  /// In ascending order of their tokens.
  package let biases: [TokenBias]
  package let format: TextConstraint?

  package init(
    fingerprint: ModelFingerprint, prompt: [TokenID], sampling: SamplingParameters, limit: Int,
    stopTokens: Set<TokenID>, stopTexts: [String], biases: [TokenBias], format: TextConstraint?
  ) {
    self.fingerprint = fingerprint
    self.prompt = prompt
    self.sampling = sampling
    self.limit = limit
    self.stopTokens = stopTokens
    self.stopTexts = stopTexts
    self.biases = biases
    self.format = format
  }
}

extension Receipt {
  /// Reads a receipt, which must have exactly the bytes that `description` gives.
  ///
  /// - Throws: `AuditError` for anything else.
  package init(json bytes: [UInt8]) throws(AuditError) {
    do throws(JSONError) {
      let limits = JSONLimits(byteCount: Self.largestSize, depth: 8)
      try self.init(JSONDocument(bytes, limits: limits).root)
    } catch {
      throw AuditError(error.sentence(about: "the receipt"))
    }
    guard self.bytes(true) == bytes else {
      throw AuditError(
        "the receipt's sha256 is not that of its contents, or the receipt is not in the canonical form of RFC 8785; "
          + "expected it as it was written")
    }
  }

  private init(_ json: JSONValue) throws(JSONError) {
    var fields = try json.fields()
    let version = fields["receipt"]
    guard try version.string() == Self.version else { throw version.error(expected: "\"\(Self.version)\"") }
    var model = try fields["model"].fields()
    let text = model["digest"]
    guard let digest = ModelDigest(try text.string()) else { throw text.error(expected: "64 hexadecimal digits") }
    fingerprint = ModelFingerprint(arithmetic: try model["arithmetic"].integer(in: 0...1 << 30), digest: digest)
    prompt = try fields["prompt"].ids()
    output = try fields["output"].ids()
    var parameters = try fields["sampling"].fields()
    let seed = parameters["seed"]
    guard let number = UInt64(try seed.string()) else { throw seed.error(expected: "a number of 64 bits, as a string") }
    sampling = SamplingParameters(
      temperature: try parameters["temperature"].float(), topK: try parameters["top_k"].integer(in: 0...1 << 53),
      topP: try parameters["top_p"].float(), minP: try parameters["min_p"].float(),
      repetitionPenalty: try parameters["repetition_penalty"].float(),
      presencePenalty: try parameters["presence_penalty"].ifPresent?.float() ?? 0,
      frequencyPenalty: try parameters["frequency_penalty"].ifPresent?.float() ?? 0, seed: number)
    biases = []
    if let numbers = fields["logit_bias"].ifPresent {
      for (name, value) in try numbers.members() {
        guard let token = TokenID(try name.string()) else { throw name.error(expected: "a token id") }
        biases.append(TokenBias(token: token, value: try value.float()))
      }
      biases.sort { $0.token < $1.token }
    }
    if let json = fields["response_format"].ifPresent { self.format = try TextConstraint(receipt: json) }
    limit = try fields["max_tokens"].integer(in: 1...1 << 30)
    var stop = try fields["stop"].fields()
    stopTokens = try stop["tokens"].ids()
    stopTexts = []
    for text in try stop["texts"].elements() { stopTexts.append(try text.string()) }
    finish = try fields["finish_reason"].string()
    if let digests = fields["token_digests"].ifPresent {
      var texts: [String] = []
      for digest in try digests.elements() { texts.append(try digest.string()) }
      tokenDigests = texts
    }
    if let signed = fields["signature"].ifPresent {
      var parts = try signed.fields()
      signature = ReceiptSignature(publicKey: try parts["public_key"].string(), value: try parts["ed25519"].string())
    }
  }
}

extension TextConstraint {
  /// The constraint as receipts hold it: a list of alternatives, each a list of texts and schemas.
  fileprivate var receiptTree: JSONTree {
    .array(
      alternatives.map { parts in
        .array(
          parts.map { part in
            switch part {
            case .text(let text): ["text": .string(text)]
            case .json(let schema): ["schema": .string(String(decoding: schema, as: UTF8.self))]
            }
          })
      })
  }

  fileprivate init(receipt json: JSONValue) throws(JSONError) {
    self.init(alternatives: [])
    for alternative in try json.elements() {
      var parts: [Part] = []
      for part in try alternative.elements() {
        if let text = try part["text"].ifPresent {
          parts.append(.text(try text.string()))
        } else {
          parts.append(.json(schema: Array(try part["schema"].string().utf8)))
        }
      }
      alternatives.append(parts)
    }
  }
}

extension JSONValue {
  fileprivate func ids() throws(JSONError) -> [TokenID] {
    var ids: [TokenID] = []
    for element in try elements() { ids.append(try element.integer(as: TokenID.self, in: 0...TokenID.max)) }
    return ids
  }

  fileprivate func float() throws(JSONError) -> Float {
    Float(try number(in: -Double(Float.greatestFiniteMagnitude)...Double(Float.greatestFiniteMagnitude)))
  }
}
