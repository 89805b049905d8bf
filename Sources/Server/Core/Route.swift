/// How the routes of a dialect write errors.
package struct ErrorForm: Sendable {
  /// The whole body of an error's response.
  package let body: @Sendable (RequestError) -> [UInt8]

  package init(_ body: @escaping @Sendable (RequestError) -> [UInt8]) { self.body = body }

  /// The form of errors that come before a route is found, by the beginning of the path.
  static func ofPath(_ path: String) -> ErrorForm {
    path.hasPrefix("/api/") ? .ollama : path.hasPrefix("/v1/messages") ? .anthropic : .openAI
  }
}

/// What answers the requests of one method and path.
package struct Route: Sendable {
  package let method: String
  /// Such as `/v1/models/{model}`; a last part `{name...}` takes the rest of the path.
  package let path: String
  /// Whether a key is needed, where the server has keys.
  package var needsKey: Bool
  /// Whether the request has a JSON body.
  package var takesJSON: Bool
  /// Whether programs other than browsers may send the body under the name of another type.
  package var takesAnyType: Bool
  package var errors: ErrorForm
  package let answer: @Sendable (Exchange) async throws -> Reply

  package init(
    _ method: String, _ path: String, needsKey: Bool = true, takesAnyType: Bool = false, errors: ErrorForm = .openAI,
    answer: @escaping @Sendable (Exchange) async throws -> Reply
  ) {
    self.method = method
    self.path = path
    self.needsKey = needsKey
    takesJSON = method == "POST"
    self.takesAnyType = takesAnyType
    self.errors = errors
    self.answer = answer
  }
}

/// Finds the route of a request.
package struct RouteTable: Sendable {
  package enum Match: Sendable {
    case route(Route, parameters: [String: String])
    /// The path exists, but not with this method.
    case otherMethods([String])
    case none
  }

  private var fixed: [String: [Route]] = [:]
  private var patterns: [(parts: [Substring], route: Route)] = []

  package init(_ routes: [Route]) {
    for route in routes {
      if route.path.contains("{") {
        patterns.append((route.path.split(separator: "/"), route))
      } else {
        fixed[route.path, default: []].append(route)
      }
    }
  }

  /// - Parameter method: `HEAD` finds what `GET` finds.
  package func match(_ method: String, _ path: String) -> Match {
    let path = path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path
    var found: [(route: Route, parameters: [String: String])] = (fixed[path] ?? []).map { ($0, [:]) }
    if found.isEmpty {
      let parts = path.split(separator: "/")
      for (pattern, route) in patterns {
        if let parameters = Self.parameters(pattern, parts) { found.append((route, parameters)) }
      }
    }
    let sought = method == "HEAD" ? "GET" : method
    if let match = found.first(where: { $0.route.method == sought }) {
      return .route(match.route, parameters: match.parameters)
    }
    if found.isEmpty { return .none }
    let methods = found.map(\.route.method)
    return .otherMethods(methods + (methods.contains("GET") ? ["HEAD"] : []) + ["OPTIONS"])
  }

  private static func parameters(_ pattern: [Substring], _ parts: [Substring]) -> [String: String]? {
    var parameters: [String: String] = [:]
    for (index, part) in pattern.enumerated() {
      guard index < parts.count else { return nil }
      guard part.hasPrefix("{") else {
        if part != parts[index] { return nil }
        continue
      }
      if part.hasSuffix("...}") {
        parameters[String(part.dropFirst().dropLast(4))] = parts[index...].joined(separator: "/")
        return parameters
      }
      parameters[String(part.dropFirst().dropLast())] = String(parts[index])
    }
    return pattern.count == parts.count ? parameters : nil
  }
}
