import ArgumentParser
import BitNet
import BitNetInference
import BitNetModelFiles
import Foundation

#if Hub
  import BitNetHub
#endif

struct Pull: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Download a model from the Hugging Face hub.",
    discussion: """
      Downloads what an engine needs (configuration, tokenizer, weights) into the Hugging Face cache, which the Python \
      client shares. Every file is verified by the hash that the hub states before it gets its name. A pull that was \
      interrupted continues where it stopped. Afterwards every command takes --model org/name.

      Variables: HF_TOKEN (for private and gated models), HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_HUB_OFFLINE, \
      HF_HUB_DOWNLOAD_TIMEOUT (seconds without a byte, 10), HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE.

      Examples:
        bitnet pull microsoft/bitnet-b1.58-2B-4T
        bitnet pull microsoft/bitnet-b1.58-2B-4T-gguf --file ggml-model-i2_s.gguf
        bitnet pull org/name --revision v1.0
      """)

  @Argument(help: "The model's name on the hub, org/name.")
  var model: String

  @Option(help: ArgumentHelp("A branch, a tag or a commit.", valueName: "revision"))
  var revision = HubReference.mainRevision

  @Option(help: ArgumentHelp("Download this file alone, such as one of several GGUF files.", valueName: "name"))
  var file: String?

  func run() async throws {
    guard let name = HubModelName(model) else {
      throw ValidationError("The model is \"\(model)\"; expected a name on the hub, org/name.")
    }
    #if Hub
      try await pull(name)
    #else
      throw CommandError(
        "this program was built without downloads, so it cannot pull \(name); "
          + "build it with: swift build -c release --traits Hub")
    #endif
  }

  #if Hub
    private func pull(_ name: HubModelName) async throws {
      let settings = try HubSettings()
      let client = HubHTTPClient(settings)
      let cache = HubCache.current
      let bar = PullBar()
      let start = ContinuousClock.now
      let summary: HubPull.Summary
      do {
        summary = try await HubPull(settings: settings, cache: cache, transport: client).run(
          name, revision: revision, file: file, progress: bar.update)
      } catch {
        bar.finish()
        await client.shutDown()
        throw error
      }
      bar.finish()
      await client.shutDown()
      let seconds = start.duration(to: .now) / .seconds(1)
      let transferred =
        summary.isOffline
        ? "all in the cache; HF_HUB_OFFLINE is set, so the hub was not asked"
        : summary.transferred == 0
          ? "all in the cache already"
          : "\(size(summary.transferred)) transferred in \(duration(seconds)), "
            + "\(size(Int(Double(summary.transferred) / max(seconds, 1e-3))))/s"
      try ByteOutput.standard.write(
        """
        \(name): \(plural(summary.fileCount, "file")), \(size(summary.byteCount)), \(transferred)
        \(summary.path)

        """)
    }
  #endif
}

#if Hub
  /// The progress bar of a pull, with the rate of the last seconds and the time left.
  private final class PullBar: Sendable {
    private let bar = ProgressBar("pulling")
    private let rate = TransferRate()

    @Sendable func update(_ progress: HubProgress) {
      guard progress.total > 0 else { return }
      let share = min(1, Double(progress.received) / Double(progress.total))
      bar.update(share) {
        if let waiting = progress.waiting { return "waiting for \(waiting)" }
        return rate.text(transferred: progress.transferred, left: progress.total - progress.received)
      }
    }

    func finish() { bar.finish() }
  }
#endif
