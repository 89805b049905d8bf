import BitNet
import BitNetDemoModel
import BitNetInference
import BitNetServer
import BitNetServing
import Testing

@Suite("Replicas of a model on several devices")
struct ReplicaTests {
  private static func model() async throws -> LanguageModel {
    try await LanguageModel.load(
      embedded: UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size()),
      options: .init(device: .cpu(.init(threads: 1)), cacheBytes: 0))
  }

  @Test("a prompt goes to the replica of its beginning, unless another one has less to do")
  func choice() async throws {
    let (one, other) = (try await Self.model(), try await Self.model())
    let served = ServedModel(name: "demo", model: one, otherReplicas: [other], created: 1)
    let prompts = (0..<64).map { number in (0..<80).map { TokenID((number * 37 + $0) % 4000) } }
    let chosen = prompts.map { served.replica(for: $0) === one }
    #expect(chosen.count { $0 } > 16 && chosen.count { !$0 } > 16)
    #expect(prompts.map { served.replica(for: $0) === one } == chosen)
    // What follows the beginning does not matter.
    #expect(prompts.map { served.replica(for: $0 + [1, 2, 3]) === one } == chosen)

    var streams: [TokenStream] = []
    for _ in 0..<3 { streams.append(try await one.scheduler.start(Request(prompt: [1, 2], limit: 500))) }
    #expect(prompts.allSatisfy { served.replica(for: $0) === other })
    for _ in 0..<2 { streams.append(try await other.scheduler.start(Request(prompt: [1, 2], limit: 500))) }
    #expect(prompts.map { served.replica(for: $0) === one } == chosen)
    withExtendedLifetime(streams) {}
  }

  @Test("a request is refused only when the queues of all replicas are full")
  func fullQueues() async throws {
    func model() async throws -> LanguageModel {
      var options = LanguageModel.LoadOptions(device: .cpu(.init(threads: 1)))
      options.policy = Scheduler.Policy(running: 1, waiting: 1)
      return try await LanguageModel.load(
        embedded: UnsafeRawBufferPointer(start: demo_model_bytes(), count: demo_model_size()), options: options)
    }
    let served = ServedModel(name: "demo", model: try await model(), otherReplicas: [try await model()], created: 1)
    // One waits in each until the first step has begun, and one runs.
    var streams: [TokenStream] = []
    for _ in 0..<2 { streams.append(try await served.start(Request(prompt: [1, 2], limit: 500))) }
    #expect(streams.count == 2)
    await #expect(throws: SchedulerError.self) {
      for _ in 0..<3 { streams.append(try await served.start(Request(prompt: [1, 2], limit: 500))) }
    }
    #expect(served.replicas.allSatisfy { $0.scheduler.load.running + $0.scheduler.load.waiting > 0 })
    withExtendedLifetime(streams) {}
  }

  @Test("metrics are those of all replicas together, and gauges those of each")
  func metrics() async throws {
    let models = [try await Self.model(), try await Self.model()]
    func pages(_ served: ServedModel) throws -> Int {
      let text = ServerCore(try ModelCatalog([served])).metricsText()
      let found = try #require(text.firstMatch(of: /num_gpu_blocks="(\d+)"/))
      return try #require(Int(found.1))
    }
    let single = ServedModel(name: "demo", model: models[0], created: 1)
    let alone = try pages(single)
    #expect(!ServerCore(try ModelCatalog([single])).metricsText().contains("replica"))
    let both = ServedModel(name: "demo", model: models[0], otherReplicas: [models[1]], created: 1)
    #expect(try pages(both) == 2 * alone)
    for model in models {
      let stream = try await model.scheduler.start(Request(prompt: [1, 2, 3], limit: 4))
      while try await stream.next() != nil {}
    }
    let text = ServerCore(try ModelCatalog([both])).metricsText()
    #expect(text.contains(#"vllm:prefix_cache_queries_total{model_name="demo",engine="0"} 6"#), "\(text)")
    let streams = [
      try await models[1].scheduler.start(Request(prompt: [1, 2], limit: 500)),
      try await models[1].scheduler.start(Request(prompt: [1, 2], limit: 500)),
    ]
    let busy = ServerCore(try ModelCatalog([both])).metricsText()
    func requests(_ replica: Int) throws -> Int {
      try ["running", "waiting"].reduce(0) { sum, state in
        let name = #"bitnet_replica_requests_\#(state){model_name="demo",replica="\#(replica)"} "#
        let line = try #require(busy.split(separator: "\n").first { $0.hasPrefix(name) }, "\(busy)")
        return sum + (try #require(Int(line.dropFirst(name.count))))
      }
    }
    #expect(try requests(1) == 0 && requests(2) == 2)
    #expect(busy.contains(#"bitnet_replica_kv_cache_usage_ratio{model_name="demo",replica="2"}"#))
    withExtendedLifetime(streams) {}
  }
}
