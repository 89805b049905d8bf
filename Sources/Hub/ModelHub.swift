#if Hub
  import BitNetModelFiles

  /// Models on the Hugging Face hub.
  ///
  /// ```swift
  /// let folder = try await ModelHub.pull("microsoft/bitnet-b1.58-2B-4T")
  /// let model = try await LanguageModel.load(folder)
  /// ```
  public enum ModelHub {
    /// Downloads what an engine needs of a model into the Hugging Face cache, or what the cache lacks of it.
    ///
    /// The environment variables of the Python client say where the hub and the cache are, and hold the token.
    ///
    /// - Parameters:
    ///   - name: the model's name, `org/name`.
    ///   - revision: a branch, a tag or a commit.
    ///   - file: the one file that is wanted, such as one of several GGUF files; nil for the whole model.
    ///   - progress: called from any thread with the share of the bytes that are there, 0 to 1.
    /// - Returns: the path of the model's folder, or of the file.
    /// - Throws: an error whose description is one sentence; `CancellationError` if the task was cancelled. What was
    ///   transferred stays, and the next call continues there.
    public static func pull(
      _ name: String, revision: String = "main", file: String? = nil,
      progress: (@Sendable (Double) -> Void)? = nil
    ) async throws -> String {
      guard let model = HubModelName(name) else {
        throw HubError("the model's name is \(name.debugDescription); expected one on the hub, org/name")
      }
      let settings = try HubSettings()
      let client = HubHTTPClient(settings)
      do {
        let pull = HubPull(settings: settings, cache: .current, transport: client)
        let summary = try await pull.run(model, revision: revision, file: file) { state in
          if state.total > 0 { progress?(min(1, Double(state.received) / Double(state.total))) }
        }
        await client.shutDown()
        return summary.path
      } catch {
        await client.shutDown()
        throw error
      }
    }
  }
#endif
