#if Server
  import AsyncHTTPClient
  import BitNetJSON
  import NIOCore
  import NIOHTTP1

  /// Clients that each send a request as soon as their last one is answered, to one server or several.
  package struct LoadBenchmark: Sendable {
    private struct Target: Sendable {
      let url: String
      let model: String
    }

    private let client: HTTPClient
    private let targets: [Target]
    private let plan: LoadPlan
    private let key: String?
    private let timeout: Duration

    /// Asks the targets for their models.
    ///
    /// - Parameters:
    ///   - urls: one or more, such as `http://127.0.0.1:9931`.
    ///   - key: sent as `Authorization: Bearer`.
    ///   - timeout: for the whole of each request.
    /// - Throws: `LoadError` if a target does not answer. Call `shutDown` otherwise.
    package init(urls: [String], plan: LoadPlan, key: String?, timeout: Duration) async throws {
      var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow, decompression: .disabled)
      configuration.timeout.connect = .seconds(10)
      configuration.httpVersion = .http1Only
      configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 4096
      configuration.connectionPool.retryConnectionEstablishment = false
      let client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
      self.client = client
      self.plan = plan
      self.key = key
      self.timeout = timeout
      do {
        var targets: [Target] = []
        for url in urls {
          var model = plan.model
          if model == nil { model = try await Self.firstModel(of: url, client, key) }
          targets.append(Target(url: url, model: model!))
        }
        self.targets = targets
      } catch {
        try? await client.shutdown()
        throw error
      }
    }

    package func shutDown() async { try? await client.shutdown() }

    private static func firstModel(of url: String, _ client: HTTPClient, _ key: String?) async throws -> String {
      do {
        let response = try await client.execute(request(url + "/v1/models", key), timeout: .seconds(10))
        let body = try await response.body.collect(upTo: 1 << 20)
        guard response.status == .ok else { throw LoadError("the answer is \(response.status); expected 200 OK") }
        let root = try JSONDocument(Array(body.readableBytesView)).root
        guard let first = Array(try root["data"].elements()).first else { throw LoadError("it lists no model") }
        return try first["id"].string()
      } catch {
        throw LoadError("\(url) does not list its models: \(error); pass --model, or the address of a server")
      }
    }

    private static func request(_ url: String, _ key: String?) -> HTTPClientRequest {
      var request = HTTPClientRequest(url: url)
      if let key { request.headers.add(name: "Authorization", value: "Bearer \(key)") }
      return request
    }

    // MARK: Measuring

    /// Measures a number of clients, which send `count` requests together.
    ///
    /// - Parameter first: the number of the first request; prompts of different numbers differ.
    package func measure(clients: Int, requests count: Int, first: Int) async -> LoadResult {
      let start = ContinuousClock.now
      let outcomes = await withTaskGroup(of: [Result<LoadSample, LoadError>].self) { group in
        let queue = RequestQueue(first..<(first + count))
        for index in 0..<clients {
          group.addTask {
            var outcomes: [Result<LoadSample, LoadError>] = []
            while let number = await queue.next() {
              outcomes.append(await send(number, to: index % targets.count))
            }
            return outcomes
          }
        }
        var all: [Result<LoadSample, LoadError>] = []
        for await outcomes in group { all += outcomes }
        return all
      }
      let seconds = start.duration(to: .now) / .seconds(1)
      var samples: [LoadSample] = []
      var failures: [String] = []
      for outcome in outcomes {
        switch outcome {
        case .success(let sample): samples.append(sample)
        case .failure(let error): failures.append(error.description)
        }
      }
      return LoadResult(
        clients: clients, samples: samples, failures: failures, seconds: seconds, urls: targets.map(\.url))
    }

    private func send(_ number: Int, to index: Int) async -> Result<LoadSample, LoadError> {
      do {
        return .success(try await answer(number, from: index))
      } catch let error as LoadError {
        return .failure(error)
      } catch {
        return .failure(LoadError("the request failed: \(error)"))
      }
    }

    /// Sends a request, again if the connection that was kept for it had been closed meanwhile.
    private func send(_ request: HTTPClientRequest) async throws -> HTTPClientResponse {
      let deadline = NIODeadline.now() + .nanoseconds(Int64(timeout / .nanoseconds(1)))
      for _ in 0..<3 {
        do {
          return try await client.execute(request, deadline: deadline)
        } catch let error as HTTPClientError where error == .remoteConnectionClosed {
          continue
        } catch let error as ChannelError where error == .ioOnClosedChannel {
          continue
        }
      }
      return try await client.execute(request, deadline: deadline)
    }

    private func answer(_ number: Int, from index: Int) async throws -> LoadSample {
      let target = targets[index]
      var request = Self.request(target.url + plan.endpoint.path, key)
      request.method = .POST
      request.headers.add(name: "Content-Type", value: "application/json")
      request.body = .bytes(try plan.body(number: number, model: target.model))
      let start = ContinuousClock.now
      let response = try await send(request)
      guard response.status == .ok else {
        let body = try? await response.body.collect(upTo: 1 << 16)
        let text = body.map { String(decoding: $0.readableBytesView.prefix(300), as: UTF8.self) } ?? ""
        throw LoadError("the answer is \(response.status); expected 200 OK: \(text)")
      }
      var sample = LoadSample(target: index, firstToken: 0, gaps: [], total: 0, promptTokens: 0, tokens: 0)
      var lines = EventLines()
      var last: ContinuousClock.Instant?
      var pieces = 0
      var isDone = false
      for try await bytes in response.body {
        let now = ContinuousClock.now
        for event in try lines.append(bytes.readableBytesView) {
          if event.elementsEqual("[DONE]".utf8) {
            isDone = true
            continue
          }
          let piece = try Piece(event)
          if piece.hasText {
            pieces += 1
            if let last { sample.gaps.append(last.duration(to: now) / .seconds(1)) }
            if last == nil { sample.firstToken = start.duration(to: now) / .seconds(1) }
            last = now
          }
          if let usage = piece.usage { (sample.promptTokens, sample.tokens) = usage }
        }
      }
      guard isDone else { throw LoadError("the answer ended without [DONE]; expected a whole one") }
      // Servers without usage send a piece for each token.
      if sample.tokens == 0 { sample.tokens = pieces }
      guard sample.tokens > 0 else { throw LoadError("the answer has no tokens; expected \(plan.tokens)") }
      sample.total = start.duration(to: .now) / .seconds(1)
      // Tokens can be without text, such as the first bytes of a character.
      if last == nil { sample.firstToken = sample.total }
      return sample
    }
  }

  /// What a benchmark reads of an event.
  private struct Piece {
    var hasText = false
    var usage: (prompt: Int, generated: Int)?

    init(_ event: [UInt8]) throws {
      let root = try JSONDocument(event).root
      if let error = try root["error"].ifPresent {
        let message = try? error["message"].string()
        throw LoadError("the server ended the answer: \(message ?? error.written)")
      }
      if let usage = try root["usage"].ifPresent {
        self.usage = (try usage["prompt_tokens"].integer(), try usage["completion_tokens"].integer())
      }
      for choice in try root["choices"].ifPresent?.elements().map({ $0 }) ?? [] {
        let text = try choice["text"].ifPresent ?? choice["delta"].ifPresent?["content"].ifPresent
        if let text, try !text.string().isEmpty { hasText = true }
      }
    }
  }

  /// The numbers of the requests that no client has sent yet.
  private actor RequestQueue {
    private var left: Range<Int>

    init(_ numbers: Range<Int>) { left = numbers }

    func next() -> Int? { left.popFirst() }
  }
#endif
