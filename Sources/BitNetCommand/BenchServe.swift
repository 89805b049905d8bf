import ArgumentParser
import BitNetLoadClient

struct BenchServe: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Measure a server that speaks OpenAI's interface, under load.",
    discussion: """
      Each client sends a request and, as soon as it is answered, the next one. Every prompt is different. Throughput \
      counts generated tokens; times are seconds. With several targets, clients are divided among them, and the \
      imbalance tells how much more than the mean the busiest one generated.

      Examples:
        bitnet bench serve
        bitnet bench serve --url http://127.0.0.1:8080 --clients 1,16 --chat
        bitnet bench serve --targets http://a:9931,http://b:9931 --json
      """)

  @Option(help: ArgumentHelp("The server's address, without a path.", valueName: "url"))
  var url = "http://127.0.0.1:9931"

  @Option(help: ArgumentHelp("Several servers instead, separated by commas.", valueName: "list"))
  var targets: String?

  @Option(help: ArgumentHelp("The model's name. (default: the first one that the server lists)", valueName: "name"))
  var model: String?

  @Option(help: ArgumentHelp("A key for the server.", valueName: "key"))
  var apiKey: String?

  @Flag(help: "Send chats instead of texts to continue.")
  var chat = false

  @Option(parsing: .unconditional, help: ArgumentHelp("The numbers of clients.", valueName: "list"))
  var clients = "1,4,16,64"

  @Option(parsing: .unconditional, help: ArgumentHelp("Requests for each client.", valueName: "count"))
  var requests = 4

  @Option(parsing: .unconditional, help: ArgumentHelp("Words of a prompt.", valueName: "count"))
  var words = 100

  @Option(parsing: .unconditional, help: ArgumentHelp("Tokens of an answer.", valueName: "count"))
  var tokens = 64

  @Option(parsing: .unconditional, help: ArgumentHelp("0 takes the most likely token.", valueName: "number"))
  var temperature = 0.0

  @Option(parsing: .unconditional, help: ArgumentHelp("Determines the prompts.", valueName: "number"))
  var seed: UInt64 = 1

  @Option(parsing: .unconditional, help: ArgumentHelp("The longest time of a request, in seconds.", valueName: "count"))
  var timeout = 600

  @Flag(help: "Print JSON Lines, each as soon as it has been measured.")
  var json = false

  func validate() throws {
    func check(_ value: Int, _ option: String, _ range: ClosedRange<Int>) throws {
      guard range ~= value else {
        throw ValidationError("\(option) is \(value); expected \(range.lowerBound) to \(range.upperBound).")
      }
    }
    try check(requests, "--requests", 1...1_000_000)
    try check(words, "--words", 1...1_000_000)
    try check(tokens, "--tokens", 1...1_000_000)
    try check(timeout, "--timeout", 1...86_400)
    guard temperature >= 0, temperature <= 100 else {
      throw ValidationError("--temperature is \(temperature); expected 0 to 100.")
    }
  }

  func run() async throws {
    let clients = try numbers(clients, of: "--clients", 1...4096)
    let urls = (targets?.split(separator: ",").map { String($0) } ?? [url]).map { url in
      url.hasSuffix("/") ? String(url.dropLast()) : url
    }
    for url in urls where !url.hasPrefix("http://") && !url.hasPrefix("https://") {
      throw CommandError("the server's address is \"\(url)\"; expected one such as http://127.0.0.1:9931")
    }
    guard !urls.isEmpty else { throw CommandError("--targets is empty; expected addresses of servers") }
    #if Server
      try await measure(clients, urls)
    #else
      throw CommandError(
        "this program was built without the client of servers; build it with: swift build -c release --traits Server")
    #endif
  }

  #if Server
    private struct Setting: Encodable {
      let targets: [String]
      let endpoint: String
      let model: String?
      let words: Int
      let tokens: Int
      let temperature: Double
      let requestsPerClient: Int
    }

    private func measure(_ clients: [Int], _ urls: [String]) async throws {
      let plan = LoadPlan(
        endpoint: chat ? .chat : .completions, model: model, words: words, tokens: tokens, temperature: temperature,
        seed: seed)
      let benchmark: LoadBenchmark
      do {
        benchmark = try await LoadBenchmark(urls: urls, plan: plan, key: apiKey, timeout: .seconds(timeout))
      } catch {
        throw CommandError("\(error)")
      }
      let setting = Setting(
        targets: urls, endpoint: plan.endpoint.rawValue, model: model, words: words, tokens: tokens,
        temperature: temperature, requestsPerClient: requests)
      do {
        if json {
          try ByteOutput.standard.write("setting", setting)
        } else {
          try ByteOutput.standard.write(BenchServeReport.head(urls, words: words, tokens: tokens))
        }
        // Connections and caches are warm when times count.
        var next = 0
        let warmup = await benchmark.measure(clients: urls.count, requests: urls.count, first: next)
        if let failure = warmup.firstFailure { throw CommandError("the first request failed: \(failure)") }
        next += urls.count
        for count in clients {
          let result = await benchmark.measure(clients: count, requests: count * requests, first: next)
          next += count * requests
          if json {
            try ByteOutput.standard.write("clients", result)
          } else {
            try ByteOutput.standard.write(BenchServeReport.lines(result))
          }
        }
      } catch {
        await benchmark.shutDown()
        throw error
      }
      await benchmark.shutDown()
    }
  #endif
}
