package import BitNet

/// An embedding model under the names that requests call it by.
package struct ServedEmbedder: Sendable {
  /// The name in responses.
  package let name: String
  /// Other names that requests may use.
  package let aliases: [String]
  package let embedder: Embedder
  /// Seconds since 1970.
  package let created: Int

  package init(name: String, aliases: [String] = [], embedder: Embedder, created: Int) {
    self.name = name
    self.aliases = aliases
    self.embedder = embedder
    self.created = created
  }
}
