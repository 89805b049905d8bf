import BitNetJSON
import BitNetTokenization
import Foundation
import Testing

@Suite("Hostile templates", .serialized)
struct JinjaLimitTests {
  private static let long = "{% set x = 'a' * 1000000 %}{% for i in range(100000) %}"

  /// Templates that would run, grow or nest without end.
  private static let hostile: [String] = [
    "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    "{% for i in range(10**9) %}{% endfor %}", "{{ 'a' * 10**9 }}", "{{ 'a' * 10**30 }}", "{{ [1] * 10**9 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(x) %}{{ f(x + 1) ~ f(x + 1) }}{% endmacro %}{{ f(0) }}",
    "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% endcall %}{% endmacro %}"
      + "{{ g() }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{% set ns = namespace(x='a') %}{% for i in range(100000) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}",
    "{% set ns = namespace(x=[]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x=[]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
    "{% set ns = namespace(x=[], y=[]) %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}"
      + "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    "{% set ns = namespace(x=()) %}{% for i in range(90) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ {ns.x: 1} }}",
    "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
    "{% set ns = namespace(g=[1]) %}{% for i in range(100000) %}{% set ns.g = ns.g|map('string') %}{% endfor %}",
    "{% set ns = namespace(c=1) %}{% for i in range(100000) %}{% set ns.c = cycler(ns.c) %}{% endfor %}",
    "{% set ns = namespace(l=1) %}{% for i in range(100000) %}{% for x in [ns.l] %}{% set ns.l = loop %}{% endfor %}"
      + "{% endfor %}",
    "{{ " + String(repeating: "(", count: 100_000), "{{ " + String(repeating: "-", count: 100_000) + "1 }}",
    "{{ " + String(repeating: "not ", count: 100_000) + "1 }}",
    "{{ " + String(repeating: "1 + ", count: 100_000) + "1 }}",
    "{{ a" + String(repeating: ".a", count: 100_000) + " }}",
    "{{ a" + String(repeating: "|upper", count: 100_000) + "}}",
    "{{ " + String(repeating: "1 if 1 else ", count: 100_000) + "1 }}", String(repeating: "{% if 1 %}", count: 100_000),
    String(repeating: "{% macro f() %}", count: 100_000),
    "{% set " + String(repeating: "(", count: 100_000) + "a = 1 %}",
    "{{ ('a' * 100000).replace('a', 'b' * 100000) }}", "{{ '%1000000000d' % 1 }}", "{{ '{:1000000000}'.format(1) }}",
    "{{ '%.1000000000f' % 1.5 }}", "{{ 'a'.center(10**9) }}", "{{ '\\t'.expandtabs(10**9) }}",
    "{{ 'a'|indent(10**9) }}",
    "{{ [1]|tojson(indent=10**9) }}", "{{ [1]|batch(10**9, 1)|list }}", "{{ [1]|slice(10**9)|list }}",
    "{{ f(" + (0..<20_000).map { "a\($0)=1," }.joined() + ") }}",
    "{% macro f(" + (0..<8_000).map { "a\($0)," }.joined() + "z) %}{% endmacro %}{{ f(z=1, "
      + (0..<8_000).map { "a\($0)=1" }.joined(separator: ",") + ") }}",
    "{{ 9 ** 9 ** 9 ** 9 }}", "{{ range(-9223372036854775808, 9223372036854775807) }}",
    long + "{% if x == x ~ 'b' %}{% endif %}{% endfor %}", long + "{% set y = x[1:] %}{% endfor %}",
    long + "{% set y = {x: 1} %}{% endfor %}", long + "{% set y = x.strip('a') %}{% endfor %}",
    long + "{% set y = x|upper %}{% endfor %}", long + "{% set y = x|int %}{% endfor %}",
    long + "{% set y = x is upper %}{% endfor %}", long + "{% set y = l[x] %}{% endfor %}",
  ]

  @Test("end with a sentence within 100 ms")
  func hostile() throws {
    for source in Self.hostile {
      // The thread's own time: other processes may keep the processor.
      let start = Self.processorSeconds
      let error = #expect(throws: JinjaError.self, "\(source.prefix(200))") { try rendered(source, #"{"l": []}"#) }
      let seconds = Self.processorSeconds - start
      #expect(error.map { $0.description.utf8.count < 400 } ?? true)
      #expect(seconds < 0.1, "\(source.prefix(200))")
    }
  }

  private static var processorSeconds: Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  @Test("end without a crash at the ends of the integers")
  func integers() throws {
    let smallest = "-9223372036854775808"
    let largest = "9223372036854775807"
    let calls = [
      "l[N]", "l[:N]", "l[::N]", "s[N:]", "s.find('a', N)", "s.count('a', N)", "s.center(N)", "s.split(' ', N)",
      "s.replace('a', 'b', N)", "s|truncate(N)", "s|truncate(5, true, '', N)", "s|wordwrap(N)", "s|indent(N)",
      "l|batch(N)|list", "l|slice(N)|list", "'%*d' % (N, 1)", "'a' * N", "l * N", "s.expandtabs(N)", "'a'|int(0, N)",
      "5|round(N)", "1.5|round(N)", "N|round(-3)", "N // -1", "N % -1", "N * N", "N ** 2", "-N", "N|abs",
      "range(N)|length",
      "range(0, 5, N)|list", "l|map(attribute=N)|list", "N|filesizeformat", "'%c' % N", "'{:c}'.format(N)", "{N: 1}[N]",
      "N|float|int", "s.zfill(N)", "[N]|sum(start=N)", "N in range(3)",
    ]
    for call in calls {
      for number in [smallest, largest, "-1", "0", "(2**126 + (2**126 - 1))", "(-(2**126) - 2**126)"] {
        let source = "{{ " + call.replacing("N", with: "(\(number))") + " }}"
        _ = try? rendered(source, #"{"l": [1, 2], "s": "a b"}"#)
      }
    }
    #expect(throws: JinjaError.self) { try rendered("{{ 2 ** 127 }}") }
    #expect(try rendered("{{ -(2**126) - 2**126 }}") == "-170141183460469231731687303715884105728")
  }

  @Test("may be as deep as the bound allows")
  func depth() throws {
    let deep = "{% macro f(x) %}{% if x > 0 %}[{{ f(x - 1) }}]{% endif %}{% endmacro %}{{ f(100) }}"
    #expect(try rendered(deep) == String(repeating: "[", count: 100) + String(repeating: "]", count: 100))
    let brackets = "{{ " + String(repeating: "[", count: 50) + String(repeating: "]", count: 50) + " }}"
    #expect(try rendered(brackets).count == 100)
    let sum = "{{ " + String(repeating: "1 + ", count: 100) + "1 }}"
    #expect(try rendered(sum) == "101")
  }

  @Test("A long chat stays within the bounds, though templates compare all messages with all")
  func longChats() throws {
    let source = """
      {%- for m in messages %}{% set ns = namespace(n=0) %}{% for o in messages %}
      {%- if o.role == m.role %}{% set ns.n = ns.n + 1 %}{% endif %}{% endfor %}{{ m.content|trim }}{{ ns.n }}
      {%- endfor %}
      """
    let content = String(repeating: "x", count: 500)
    let messages = (0..<600).map { #"{"role": "\#($0 % 2 == 0 ? "user" : "assistant")", "content": "\#(content)"}"# }
    let text = try rendered(source, #"{"messages": [\#(messages.joined(separator: ","))]}"#)
    #expect(text.count == 600 * 503)
  }

  @Test("Chats of too many values or characters, and too many copies of a large one, end with a sentence")
  func memory() throws {
    func message(_ source: String, _ variables: String) -> String {
      do {
        return try rendered(source, variables)
      } catch {
        return "\(error)"
      }
    }
    let many = String(repeating: "{},", count: 600_000)
    #expect(message("a", #"{"x": [\#(many)0]}"#).contains("more than 500000 values"))
    let text = String(repeating: "x", count: 2_000_000)
    let copies =
      "{% set ns = namespace(all=[]) %}{% for i in range(100) %}{% set ns.all = ns.all + [x * 4] %}{% endfor %}"
    #expect(message(copies, #"{"x": "\#(text)"}"#).contains("characters together; expected a shorter chat"))
    #expect(message("{{ x|trim|length }}", #"{"x": "\#(text)"}"#) == "2000000")
  }

  @Test("Damaged templates render or end with a sentence", arguments: 0..<4)
  func mutations(round: Int) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("mutations: seed \(seed)")
    var random = SeededGenerator(seed: seed)
    let variables = try Fixtures.text("jinja-variables.json")
    var sources = try Fixtures.text("jinja-cases.jsonl").split(separator: "\n").map {
      Array(try JSONDocument(Array($0.utf8)).root["template"].string().unicodeScalars)
    }
    sources += PublishedTemplates.all.map { Array($0.source.unicodeScalars) }
    let clock = ContinuousClock()
    for _ in 0..<1_500 {
      var source = sources.randomElement(using: &random)!
      for _ in 0..<Int.random(in: 1...4, using: &random) where !source.isEmpty {
        let at = Int.random(in: 0..<source.count, using: &random)
        let end = min(source.count, at + Int.random(in: 0...12, using: &random))
        switch Int.random(in: 0..<4, using: &random) {
        case 0: source.removeSubrange(at..<end)
        case 1: source.insert(contentsOf: source[at..<end], at: Int.random(in: 0...source.count, using: &random))
        case 2: source[at] = "{%}#'\"()[]|.:,~-+*/=0a\\ \n\u{301}".unicodeScalars.randomElement(using: &random)!
        default:
          let other = sources.randomElement(using: &random)!
          let start = Int.random(in: 0...other.count, using: &random)
          source.insert(contentsOf: other[start..<min(other.count, start + 20)], at: at)
        }
      }
      var text = String.UnicodeScalarView()
      text.append(contentsOf: source)
      let time = clock.measure {
        do {
          _ = try rendered(String(text), variables)
        } catch {
          #expect(error is JinjaError, "seed \(seed): \(error)")
        }
      }
      #expect(time < .seconds(1), "seed \(seed): \(String(text).prefix(400))")
    }
  }
}
