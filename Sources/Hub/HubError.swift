/// An error that ends a download, as one sentence.
package struct HubError: Error, Equatable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

/// A fault of one request.
struct HubFault: Error {
  enum Kind: Equatable {
    /// The next try may succeed, after so many seconds if the hub said how many.
    case transient(wait: Double?)
    /// The request would fail again.
    case final
  }

  let kind: Kind
  /// The sentence for the user.
  let description: String

  static func transient(_ description: String, wait: Double? = nil) -> HubFault {
    HubFault(kind: .transient(wait: wait), description: description)
  }

  static func final(_ description: String) -> HubFault { HubFault(kind: .final, description: description) }
}
