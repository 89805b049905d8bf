import ArgumentParser
import BitNet
import BitNetModelFiles
import BitNetServer
import BitNetServing
import Foundation

#if Server
  import Logging
#endif

struct Serve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Serve models over HTTP, as OpenAI's clients expect.",
    discussion: """
      Answers /v1/chat/completions, /v1/completions, /v1/models, /tokenize, /metrics and more; \
      Documentation/serving.md lists every endpoint and field.

      SIGTERM refuses new work, finishes the answers that run and ends the program; SIGHUP reads the key file and the \
      certificate again. Every option can also be given by a variable: BITNET_ARG_PORT=8080 stands for --port 8080, \
      and several values are separated by commas.

      Examples:
        bitnet serve
        bitnet serve microsoft/bitnet-b1.58-2B-4T --port 8080 --api-key-file keys.txt
        bitnet serve chat=model.safetensors small=other.gguf --host 0.0.0.0
        curl http://127.0.0.1:9931/v1/models
      """)

  @Argument(
    help: ArgumentHelp(
      """
      Models: files, folders or names on the hub, as for --model of other commands. NAME=MODEL serves a model under a \
      name of your own, and NAME=NAME=MODEL under several. Requests that name no model get the first one. (default: \
      the built-in demo model)
      """, valueName: "model"))
  var models: [String] = []

  @OptionGroup(title: "Address") var address: ServeAddress
  @OptionGroup(title: "Access") var access: ServeAccess
  @OptionGroup(title: "Limits") var limits: ServeLimits
  @OptionGroup(title: "Engine") var engine: EngineOptions
  @OptionGroup var layout: I2SLayout

  @Option(
    help: ArgumentHelp(
      "Sign receipts with this Ed25519 key: a PEM file that `openssl genpkey -algorithm ed25519` writes.",
      valueName: "file"))
  var receiptKey: String?

  @Option(help: "How much to log: debug, info (a line for each request), warning or error. Never prompts or answers.")
  var logLevel = ServeLogLevel.info

  @Option(help: "The form of the log on standard error: text, or json with an object on each line.")
  var logFormat = ServeLogFormat.text

  func run() async throws {
    #if Server
      try await ServeRun(self).run()
    #else
      throw CommandError(
        "this program was built without the server; build it with: swift build -c release --traits Server")
    #endif
  }
}

enum ServeLogLevel: String, ExpressibleByArgument, CaseIterable { case debug, info, warning, error }

enum ServeLogFormat: String, ExpressibleByArgument, CaseIterable { case text, json }

/// Where a server listens.
struct ServeAddress: ParsableArguments {
  @Option(help: ArgumentHelp("The address to listen on. 0.0.0.0 is all of this computer's.", valueName: "address"))
  var host = "127.0.0.1"

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The port to listen on. 0 takes a free one; the program prints it.", valueName: "number"))
  var port = 9931

  @Option(help: ArgumentHelp("Listen on a Unix socket at this path instead of a port.", valueName: "path"))
  var unixSocket: String?

  @Option(
    name: .customLong("tls-certificate"),
    help: ArgumentHelp(
      "Serve HTTPS with this certificate: a PEM file, which may hold the issuers' certificates too.",
      valueName: "file"))
  var certificate: String?

  @Option(
    name: .customLong("tls-key"), help: ArgumentHelp("The certificate's private key, a PEM file.", valueName: "file"))
  var certificateKey: String?

  func validate() throws {
    guard 0...65535 ~= port else { throw ValidationError("--port is \(port); expected 0 to 65535.") }
    guard (certificate == nil) == (certificateKey == nil) else {
      throw ValidationError("One of --tls-certificate and --tls-key is missing; expected both or neither.")
    }
  }
}

/// Who may use a server.
struct ServeAccess: ParsableArguments {
  @Option(
    name: .customLong("api-key"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Answer only requests with this key: Authorization: Bearer KEY, or x-api-key. May be repeated.",
      valueName: "key"))
  var keys: [String] = []

  @Option(
    name: .customLong("api-key-file"),
    help: ArgumentHelp("A file with a key on each line. SIGHUP reads it again.", valueName: "file"))
  var keyFile: String?

  @Option(
    name: .customLong("cors-origin"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      """
      Let web pages of this origin use the server, such as https://chat.example.org, or * for all. Pages of localhost \
      may always. May be repeated.
      """, valueName: "origin"))
  var origins: [String] = []

  @Option(
    name: .customLong("allowed-host"), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      """
      Without keys, a server on a loopback address answers only requests whose field Host is localhost or an address, \
      so that no web site can reach it under a name of its own. This allows one more name, such as the one that a \
      proxy on this computer passes on; * allows all. May be repeated.
      """, valueName: "name"))
  var hosts: [String] = []

  func validate() throws {
    if keys.contains("") { throw ValidationError("--api-key is empty; expected a key.") }
  }

  /// The keys of the options and of the file.
  ///
  /// - Throws: `CommandError` for a file that cannot be read or has no key: it would let everybody in.
  func allKeys() throws -> [String] {
    guard let keyFile else { return keys }
    let text = try ByteInput.text(of: keyFile, limit: 1 << 20)
    let found = KeyRing.keys(inFile: text)
    guard !found.isEmpty else { throw CommandError("--api-key-file \(keyFile) has no key; expected one on each line") }
    return keys + found
  }
}

/// How much of a server its clients may take.
struct ServeLimits: ParsableArguments {
  @Option(help: ArgumentHelp("The most bytes of a request's body, with or without a unit.", valueName: "bytes"))
  var maxBody = "16Mi"

  @Option(help: ArgumentHelp("The most bytes of a request's head, with or without a unit.", valueName: "bytes"))
  var maxHead = "64Ki"

  @Option(
    parsing: .unconditional, help: ArgumentHelp("The most connections; further ones wait.", valueName: "count"))
  var maxConnections = 4096

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The most generations of a model that run together.", valueName: "count"))
  var maxRunning = 256

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The most generations of a model that wait for their turn; further ones are refused with status 429.",
      valueName: "count"))
  var maxWaiting = 512

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The most tokens of an answer. (default: up to the context's length)", valueName: "count"))
  var maxTokens: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The longest time for an answer. (default: no limit)", valueName: "seconds"))
  var timeout: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The longest time for the head of a connection's first request.", valueName: "seconds"))
  var headTimeout = 30.0

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The longest time between two requests of a connection.", valueName: "seconds"))
  var idleTimeout = 75.0

  @Option(
    parsing: .unconditional, help: ArgumentHelp("The longest time for a request's body.", valueName: "seconds"))
  var bodyTimeout = 60.0

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The longest time that a client may leave its answer unread.", valueName: "seconds"))
  var writeTimeout = 60.0

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The longest time that running answers have after SIGTERM.", valueName: "seconds"))
  var drainTimeout = 60.0

  func validate() throws {
    for (name, count) in [
      ("--max-connections", maxConnections), ("--max-running", maxRunning), ("--max-waiting", maxWaiting),
      ("--max-tokens", maxTokens ?? 1),
    ] where !(1...1_000_000_000 ~= count) {
      throw ValidationError("\(name) is \(count); expected 1 or more.")
    }
    for (name, seconds) in [
      ("--timeout", timeout ?? 1), ("--head-timeout", headTimeout), ("--idle-timeout", idleTimeout),
      ("--body-timeout", bodyTimeout), ("--write-timeout", writeTimeout), ("--drain-timeout", drainTimeout),
    ] where !(0.001...1e6 ~= seconds) {
      throw ValidationError("\(name) is \(seconds); expected 0.001 to 1,000,000 seconds.")
    }
  }

  func connectionLimits() throws -> ServerLimits {
    var limits = ServerLimits()
    limits.bodyBytes = try byteCount(maxBody, of: "--max-body")
    limits.headBytes = try byteCount(maxHead, of: "--max-head")
    limits.connections = maxConnections
    limits.headTime = .seconds(headTimeout)
    limits.idleTime = .seconds(idleTimeout)
    limits.bodyTime = .seconds(bodyTimeout)
    limits.writeTime = .seconds(writeTimeout)
    limits.drainTime = .seconds(drainTimeout)
    return limits
  }
}
