import BitNet
import BitNetJSON

/// What operators and their programs ask a server.
package struct OperationRoutes: Sendable {
  private let core: ServerCore

  package init(_ core: ServerCore) { self.core = core }

  package var routes: [Route] {
    [
      Route("GET", "/health", needsKey: false) { _ in try .json(["status": "ok"]) },
      Route("GET", "/v1/health", needsKey: false) { _ in try .json(["status": "ok"]) },
      Route("GET", "/ready", needsKey: false) { _ in
        core.state.isDraining
          ? try .json(["status": "shutting down"], status: 503) : try .json(["status": "ready"])
      },
      Route("GET", "/metrics", needsKey: false) { _ in
        .text(core.metricsText(), contentType: "text/plain; version=0.0.4; charset=utf-8")
      },
      Route("GET", "/version", needsKey: false) { _ in try .json(["version": .string(packageVersion)]) },
    ]
  }
}
