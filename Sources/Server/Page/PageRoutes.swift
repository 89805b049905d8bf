import CBitNetPage

/// The web page for people.
package struct PageRoutes: Sendable {
  package init() {}

  package var routes: [Route] {
    [
      Route("GET", "/", needsKey: false) { exchange in
        // Programs that only look whether somebody answers need no page.
        let wantsPage = exchange.header("accept")?.contains("text/html") ?? false
        var reply = wantsPage ? page(nonce: Exchange.newID()) : .text("bitnet serve is running\n")
        reply.headers += [.init("Vary", "Accept"), .init("Cache-Control", "no-store")]
        return reply
      }
    ]
  }

  /// - Parameter nonce: unguessable. The browser runs only the script and applies only the style that carry it.
  private func page(nonce: String) -> Reply {
    var html = Array(
      """
      <!doctype html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <title>BitNet</title>
      <meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover, \
      interactive-widget=resizes-content">
      <meta name="color-scheme" content="light dark">
      <link rel="icon" href="data:,">
      <style nonce="\(nonce)">

      """.utf8)
    append(page_style(), to: &html)
    html += "</style>\n</head>\n<body>\n".utf8
    append(page_body(), to: &html)
    html += "<script type=\"module\" nonce=\"\(nonce)\">\n".utf8
    append(page_script(), to: &html)
    html += "</script>\n</body>\n</html>\n".utf8
    let policy = [
      "default-src 'none'", "script-src 'nonce-\(nonce)'", "style-src 'nonce-\(nonce)'", "img-src data:",
      "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
      // No text becomes HTML or a script, not even by a mistake in the script.
      "require-trusted-types-for 'script'", "trusted-types 'none'",
    ]
    return Reply(
      headers: [
        .init("Content-Security-Policy", policy.joined(separator: "; ")), .init("X-Content-Type-Options", "nosniff"),
        .init("Referrer-Policy", "no-referrer"), .init("Cross-Origin-Opener-Policy", "same-origin"),
      ],
      body: .whole(html, contentType: "text/html; charset=utf-8"))
  }

  private func append(_ part: page_part, to html: inout [UInt8]) {
    html += UnsafeBufferPointer(start: part.bytes, count: part.size)
  }
}
