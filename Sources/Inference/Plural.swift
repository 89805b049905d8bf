/// A count with its noun, for reports and errors: "1 token", "2 tokens".
package func plural(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
