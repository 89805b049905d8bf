import BitNet
import BitNetServing

extension ServerCore {
  /// All metrics as Prometheus reads them.
  package func metricsText() -> String {
    var text = PrometheusText()
    let loads = catalog.models.map(\.load)
    func forEach(_ name: String, _ type: String, _ help: String, _ value: (ServedModel, Scheduler.Load) -> Double) {
      text.begin(name, type, help)
      for (model, load) in zip(catalog.models, loads) { text.sample(name, labels(model), value(model, load)) }
    }
    func counter(_ name: String, _ help: String, _ value: (ServedModel, Scheduler.Load) -> Int) {
      forEach("vllm:\(name)_total", "counter", help) { Double(value($0, $1)) }
    }
    func gauge(_ name: String, _ help: String, _ value: (ServedModel, Scheduler.Load) -> Double) {
      forEach("vllm:\(name)", "gauge", help, value)
    }
    func histogram(_ name: String, _ help: String, _ value: (ModelMetrics) -> Histogram) {
      text.begin("vllm:\(name)", "histogram", help)
      for model in catalog.models { text.histogram("vllm:\(name)", labels(model), value(model.metrics)) }
    }

    gauge("num_requests_running", "Generations that run.") { Double($1.running) }
    gauge("num_requests_waiting", "Generations that wait for their turn.") { Double($1.waiting) }
    gauge("kv_cache_usage_perc", "The share of the KV cache that running generations fill, 0 to 1.") { $1.cacheUse }
    text.begin("vllm:cache_config_info", "gauge", "The size of the KV cache.")
    for (model, load) in zip(catalog.models, loads) {
      let pages = "\(load.cachePages)"
      text.sample(
        "vllm:cache_config_info",
        labels(model) + [
          ("block_size", "\(load.pageTokens)"), ("num_gpu_blocks", pages), ("enable_prefix_caching", "True"),
        ], 1)
    }
    writeReplicas(to: &text)
    counter("prefix_cache_queries", "Prompt tokens looked up in the prefix cache.") { $1.prefixQueries }
    counter("prefix_cache_hits", "Prompt tokens found in the prefix cache.") { $1.prefixHits }
    counter("num_preemptions", "Generations that gave up their pages for others.") { $1.preemptions }
    counter("prompt_tokens", "Prompt tokens of all requests.") { model, _ in model.metrics.promptTokens.total }
    counter("prompt_tokens_cached", "Prompt tokens that the cache held.") { model, _ in
      model.metrics.cachedTokens.total
    }
    counter("generation_tokens", "Generated tokens.") { model, _ in model.metrics.generatedTokens.total }
    text.begin(
      "vllm:prompt_tokens_by_source_total", "counter", "Prompt tokens, by where their keys and values were from.")
    for model in catalog.models {
      let (all, cached) = (model.metrics.promptTokens.total, model.metrics.cachedTokens.total)
      for (source, count) in [("local_compute", max(0, all - cached)), ("local_cache_hit", cached)] {
        text.sample("vllm:prompt_tokens_by_source_total", labels(model) + [("source", source)], Double(count))
      }
    }
    counter("spec_decode_num_drafts", "Guesses that steps have verified.") { $1.speculation.drafts }
    counter("spec_decode_num_draft_tokens", "Tokens of guesses.") { $1.speculation.drafted }
    counter("spec_decode_num_accepted_tokens", "Tokens of guesses that came true.") { $1.speculation.accepted }
    let accepted = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
    text.begin(accepted, "counter", "How often a guess's token at a position, from 0, came true.")
    for (model, load) in zip(catalog.models, loads) {
      for (position, count) in load.speculation.acceptedAt.enumerated() {
        text.sample(accepted, labels(model) + [("position", "\(position)")], Double(count))
      }
    }
    text.begin("vllm:request_success_total", "counter", "Generations that ended, by reason.")
    for model in catalog.models {
      for (reason, count) in model.metrics.successes {
        text.sample(
          "vllm:request_success_total", labels(model) + [("finished_reason", reason)], Double(count.total))
      }
    }
    text.begin("vllm:admission_rejections_total", "counter", "Requests that were refused, by reason.")
    for model in catalog.models {
      text.sample(
        "vllm:admission_rejections_total", labels(model) + [("reason", "queue_full")],
        Double(model.metrics.rejections.total))
    }

    text.begin("vllm:iteration_tokens_total", "histogram", "Tokens of a step, of prompts and new ones.")
    for (model, load) in zip(catalog.models, loads) {
      text.histogram(
        "vllm:iteration_tokens_total", labels(model), bounds: StepTokens.bounds.map { Double($0) },
        counts: load.stepTokens.counts, sum: Double(load.stepTokens.sum))
    }
    histogram("time_to_first_token_seconds", "Time from a request to its first token.") { $0.timeToFirstToken }
    histogram("inter_token_latency_seconds", "Time between two tokens.") { $0.interTokenLatency }
    histogram("request_time_per_output_token_seconds", "Mean time between a request's tokens.") {
      $0.timePerOutputToken
    }
    histogram("e2e_request_latency_seconds", "Time from a request to its last token.") { $0.latency }
    histogram("request_queue_time_seconds", "Time from a request to its first step.") { $0.queueTime }
    histogram("request_prefill_time_seconds", "Time from a request's first step to its first token.") {
      $0.prefillTime
    }
    histogram("request_decode_time_seconds", "Time from a request's first token to its last.") { $0.decodeTime }
    histogram("request_inference_time_seconds", "Time from a request's first step to its last token.") {
      $0.inferenceTime
    }
    histogram("request_prompt_tokens", "Tokens of a request's prompt.") { $0.promptLength }
    histogram("request_generation_tokens", "Tokens that a request generated.") { $0.generationLength }
    histogram("request_max_num_generation_tokens", "Tokens of the longest choice of a request.") {
      $0.longestGeneration
    }
    histogram("request_prefill_kv_computed_tokens", "Tokens of a request's prompt that the cache did not hold.") {
      $0.computedLength
    }
    histogram("request_params_max_tokens", "The most tokens that a request asked for.") { $0.mostTokens }
    histogram("request_params_n", "The choices that a request asked for.") { $0.choiceCount }
    metrics.write(to: &text)
    return text.text
  }

  /// What each of a model's replicas does, where there are several. The other metrics have their sums.
  private func writeReplicas(to text: inout PrometheusText) {
    let models = catalog.models.filter { $0.replicas.count > 1 }
    guard !models.isEmpty else { return }
    let loads = models.map { $0.replicas.map(\.scheduler.load) }
    func gauge(_ name: String, _ help: String, _ value: (Scheduler.Load) -> Double) {
      text.begin("bitnet_replica_\(name)", "gauge", help)
      for (model, loads) in zip(models, loads) {
        for (index, load) in loads.enumerated() {
          let labels = [("model_name", model.name), ("replica", "\(index + 1)")]
          text.sample("bitnet_replica_\(name)", labels, value(load))
        }
      }
    }
    gauge("requests_running", "Generations that run on a replica.") { Double($0.running) }
    gauge("requests_waiting", "Generations that wait for their turn on a replica.") { Double($0.waiting) }
    gauge("kv_cache_usage_ratio", "The share of a replica's KV cache that running generations fill, 0 to 1.") {
      $0.cacheUse
    }
  }

  private func labels(_ model: ServedModel) -> [(String, String)] { [("model_name", model.name), ("engine", "0")] }
}
