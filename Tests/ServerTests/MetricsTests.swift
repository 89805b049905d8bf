import BitNetServer
import Testing

@Suite("Metrics")
struct MetricsTests {
  private static let labels = #"{model_name="demo",engine="0"}"#

  @Test("have vLLM's names, a type before every sample, and move with the requests")
  func move() async throws {
    let server = try await TestServer()
    let body = #"{"prompt": "Once upon a time", "max_tokens": 5, "ignore_eos": true, "temperature": 0}"#
    for _ in 0..<2 { #expect(try await server.post("/v1/completions", body).status == 200) }
    let text = try await server.send("GET", "/metrics").text
    var samples: [Substring: Substring] = [:]
    var type = ""
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      if line.hasPrefix("# TYPE ") { type = String(words[2]) }
      if line.hasPrefix("#") { continue }
      #expect(line.hasPrefix(type), "\(line) has the type of \(type)")
      let value = words.last!
      #expect(Double(value) != nil, "\(line)")
      #expect(samples.updateValue(value, forKey: line.dropLast(value.count + 1)) == nil, "\(line) is given twice")
    }
    #expect(samples["vllm:generation_tokens_total\(Self.labels)"] == "10")
    #expect(samples["vllm:time_to_first_token_seconds_count\(Self.labels)"] == "2")
    #expect(samples["vllm:inter_token_latency_seconds_count\(Self.labels)"] == "8")
    #expect(samples["vllm:request_success_total\(Self.labels.dropLast()),finished_reason=\"length\"}"] == "2")
    #expect(samples["vllm:prompt_tokens_by_source_total\(Self.labels.dropLast()),source=\"local_cache_hit\"}"] != nil)
    // A prompt's last step gives the first token.
    let steps = try #require(Double(samples["vllm:iteration_tokens_total_count\(Self.labels)"] ?? ""))
    let tokens = try #require(Double(samples["vllm:iteration_tokens_total_sum\(Self.labels)"] ?? ""))
    #expect(steps >= 2 && tokens >= 10 + 2 && tokens > steps)
    for name in [
      "spec_decode_num_drafts_total", "spec_decode_num_draft_tokens_total", "spec_decode_num_accepted_tokens_total",
      "request_max_num_generation_tokens_count", "request_prefill_kv_computed_tokens_sum",
      "num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prefix_cache_queries_total",
      "prefix_cache_hits_total",
    ] {
      #expect(samples["vllm:\(name)\(Self.labels)"] != nil, "\(name)")
    }
  }

  @Test("count what fell into each range, and all of it in the last")
  func histogram() async throws {
    let metrics = ServerMetrics()
    for seconds in [0.001, 0.02, 0.02, 100] { metrics.count("BREW", nil, status: 404, seconds: seconds) }
    let text = metrics.text
    #expect(text.contains(#"http_requests_total{handler="none",method="other",status="404"} 4"#), "\(text)")
    for (bound, count) in [("0.005", 1), ("0.025", 3), ("60", 3), ("+Inf", 4)] {
      let line = #"http_request_duration_seconds_bucket{handler="none",method="other",le="\#(bound)"} \#(count)"#
      #expect(text.contains(line), "\(text)")
    }
  }
}
