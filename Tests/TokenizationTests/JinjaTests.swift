import BitNetJSON
import BitNetTokenization
import Testing

/// A rendering of `source` for a JSON object of variables, at 2026-07-26 09:05:03.
func rendered(_ source: String, _ variables: String = "{}") throws -> String {
  try JinjaTemplate(source).text(JSONDocument(Array(variables.utf8)).root, time: renderingTime)
}

let renderingTime = JinjaTime(year: 2026, month: 7, day: 26, hour: 9, minute: 5, second: 3)!

@Suite("Jinja")
struct JinjaTests {
  /// Constructs with what jinja2 makes of them.
  @Test("renders the constructs of the fixture as jinja2 does")
  func constructs() throws {
    let variables = try Fixtures.text("jinja-variables.json")
    let lines = try Fixtures.text("jinja-cases.jsonl").split(separator: "\n")
    #expect(lines.count == 593)
    for line in lines {
      let fields = try JSONDocument(Array(line.utf8)).root
      let source = try fields["template"].string()
      let error = try fields["error"].ifPresent?.string()
      let result = Result { try rendered(source, variables) }
      switch (result, error) {
      case (_, "unspecified"?): break
      case (.success(let text), nil): #expect(try text == fields["rendered"].string(), "\(source)")
      case (.success(let text), let error?): Issue.record("\(source) is \(text); expected \(error)")
      case (.failure(let failure), nil): Issue.record("\(source) fails: \(failure)")
      case (.failure(let failure as JinjaError), "raised"?):
        #expect(failure.kind == .raised)
        #expect(try failure.message == fields["message"].string())
      case (.failure(let failure), _): #expect(failure is JinjaError, "\(source): \(failure)")
      }
    }
  }

  @Test(
    "keeps variables of inner blocks to themselves",
    arguments: [
      ("{% for x in [1,2,3] %}{% if loop.first %}{% set q = 9 %}{% endif %}{{ q }}{% endfor %}|{{ q }}", "9|"),
      ("{% set q = 5 %}{% for x in [1,2] %}{{ q }}{% set q = x %}{{ q }}{% endfor %}{{ q }}", "51525"),
      ("{% macro f() %}{{ a }}{% set a = 5 %}{{ a }}{% endmacro %}{{ f() }}{{ a }}", "151"),
      ("{% with a = 5, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "511"),
      ("{% block x %}{{ a }}{% set a = 9 %}{{ a }}{% endblock %}{{ a }}", "191"),
      ("{% for i in [1] %}{% block x %}[{{ i }}]{% endblock %}{% endfor %}", "[]"),
      ("{% generation %}x{% set y = 1 %}{% endgeneration %}{{ y }}", "x"),
      ("{% for i in [1] %}{% set x %}v{% endset %}{{ x }}{% endfor %}{{ x }}", "v"),
      ("{% for x in [1,2] %}{% with %}{% break %}{% endwith %}a{% endfor %}|", "|"),
      ("{% for y in [1,2] %}{% for x in [] %}{% else %}{% break %}{% endfor %}{{ y }}{% endfor %}|", "|"),
      (
        "{% macro outer() %}{% macro f() %}I{% endmacro %}{{ f() }}{% endmacro %}{{ outer() }}{{ f is defined }}",
        "IFalse"
      ),
    ])
  func scopes(source: String, expected: String) throws {
    #expect(try rendered(source, #"{"a": 1}"#) == expected)
  }

  @Test(
    "calls macros as jinja2 does",
    arguments: [
      ("{% macro f(x) %}{{ x }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, k=4) }}", "1(2, 3){'k': 4}"),
      ("{% macro f(x, y=x ~ '!', z=5) %}{{ x }}{{ y }}{{ z }}{% endmacro %}{{ f('a') }}{{ f(y='q') }}", "aa!5q5"),
      ("{% macro f() %}<{{ caller(2) }}>{% endmacro %}{% call(n) f() %}in{{ n }}{% endcall %}", "<in2>"),
      (
        "{% for i in [[1,[2]],[3]] recursive %}{% if i is sequence %}<{{ loop(i) }}>"
          + "{% else %}{{ i }}:{{ loop.depth }}{% endif %}{% endfor %}",
        "<1:2<2:3>><3:2>"
      ),
    ])
  func macros(source: String, expected: String) throws { #expect(try rendered(source) == expected) }

  @Test("An unknown filter fails when it is reached in a condition, else at once")
  func unknownFilters() throws {
    #expect(try rendered("{% if false %}{{ 1|nope }}{% endif %}ok{{ 2 if true else 1|nope }}") == "ok2")
    for source in ["{% if true %}{{ 1|nope }}{% endif %}", "{{ [1|nope] }}", "{% filter nope %}{% endfilter %}"] {
      #expect(throws: JinjaError.self, "\(source)") { try rendered(source) }
    }
    let error = #expect(throws: JinjaError.self) {
      try JinjaTemplate("{% if false %}{% for x in l %}{{ x|nope }}{% endfor %}{% endif %}")
    }
    #expect(error?.kind == .syntax && error?.message == "there is no filter nope")
  }

  @Test("Formats write numbers and texts as Python does")
  func formats() throws {
    #expect(
      try rendered("{{ '%05d|%-5d|%+d|%x|%.2f|%8.3e|%5s|%-5s|' % (42, 42, 42, 255, 2.675, 12345.678, 'a', 'b') }}")
        == "00042|42   |+42|ff|2.67|1.235e+04|    a|b    |")
    #expect(
      try rendered("{{ '{:>5}|{:*^7}|{:,}|{:#x}|{:.1%}|{0}'.format(1, 'a', 1234567, 255, 0.25) if false }}") == "")
    #expect(
      try rendered("{{ '{:>5}|{:*^7}|{:,}|{:#x}|{:.1%}'.format(1, 'a', 1234567, 255, 0.25) }}")
        == "    1|***a***|1,234,567|0xff|25.0%")
    #expect(
      try rendered("{{ 1e16 }} {{ 1.1e16 }} {{ 123456789.125 }} {{ 1e-5 }} {{ 5e-324 }} {{ -0.0 }} {{ 2**100 }}")
        == "1e+16 1.1e+16 123456789.125 1e-05 5e-324 -0.0 1267650600228229401496703205376")
    #expect(
      try rendered("{{ strftime_now('%d %b %Y, %A %-I %p, week %V of %G, day %j, %H:%M:%S%%') }}")
        == "26 Jul 2026, Sunday 9 AM, week 30 of 2026, day 207, 09:05:03%")
  }

  @Test(
    "names the line of an error",
    arguments: [
      ("a\n{{ x.y }}\n", 2, "'x' is undefined"),
      ("{# c\n #}\n{%- if true %}\n{{ '\n' + 1 }}{% endif %}", 5, "the operands of + are a string and an integer"),
      ("{% set ns = 1 %}\n\n{% set ns.a = 1 %}", 3, "the template sets ns.a of what is no namespace"),
      ("a\r\nb\r\n{% nope %}", 3, "there is no tag {% nope %} here"),
      ("{{ 1\n+ }}", 2, "the template has }} here; expected an expression"),
      ("\n{% if true %}", 2, "the template has the end of the template here; expected {% elif %}"),
      ("\n{{ [].append(1) }}", 2, "append would change a list, which a template must not"),
    ])
  func errors(source: String, line: Int, message: String) throws {
    let error = #expect(throws: JinjaError.self) { try rendered(source) }
    #expect(error?.line == line && error?.message.hasPrefix(message) == true, "\(error?.description ?? "")")
    #expect(error?.description.hasPrefix("the chat template at line \(line) fails: ") == true)
  }

  @Test("passes on what the template says when it refuses a chat")
  func refusal() throws {
    let error = #expect(throws: JinjaError.self) { try rendered("\n{{ raise_exception('Only ' ~ 2 ~ ' turns.') }}") }
    #expect(error?.kind == .raised && error?.message == "Only 2 turns." && error?.line == 2)
  }

  @Test("reads the time, with or without seconds, fraction and zone")
  func time() throws {
    #expect(JinjaTime("2026-07-26 09:05:03") == renderingTime)
    #expect(JinjaTime("2026-07-26T09:05:03.25+02:00") == renderingTime)
    #expect(JinjaTime("2026-07-26") == JinjaTime(year: 2026, month: 7, day: 26))
    #expect(JinjaTime(secondsSince1970: 1_785_056_703) == renderingTime)
    for text in ["", "2026", "2026-13-01", "2026-02-30", "2026-07-26 24:00", "2026-07-26x09:00", "26.7.2026"] {
      #expect(JinjaTime(text) == nil, "\(text)")
    }
  }
}
