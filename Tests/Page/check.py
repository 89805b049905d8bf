"""Drives the web page of `bitnet serve` in headless Chromium.

    python Tests/Page/check.py TARGET [--only TEXT] [--screenshots FOLDER]

TARGET is the program, which is then started with the demo model, or the address of a running server. Needs playwright
and an installed Chromium. Answers come from the server, or from stub.js where a test needs certain text at a certain
time.
"""

import argparse
import contextlib
import json
import pathlib
import re
import shutil
import sys
import tempfile
import traceback

from playwright.sync_api import expect, sync_playwright

folder = pathlib.Path(__file__).parent
sys.path.insert(0, str(folder.parent / "ServeCheck"))
from harness import Server
desktop = {"viewport": {"width": 1280, "height": 860}}
phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
checks = []


def check(function):
    checks.append(function)
    return function


class Visit:
    """The page in a fresh browser profile. Records requests, errors and dialogs."""

    def __init__(self, browser, url, stubbed=True, **options):
        self.url = url
        self.context = browser.new_context(accept_downloads=True, **options)
        if stubbed:
            self.context.add_init_script(path=folder / "stub.js")
        self.problems = []
        self.requests = []
        self.page = self.context.new_page()
        self.watch(self.page)
        self.answer = self.page.goto(url)
        expect(self.page.locator("#model option").first).not_to_have_text("No model")

    def watch(self, page):
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))

    def plan(self, *plans):
        self.page.evaluate("plans => window.plans.push(...plans)", list(plans))

    def say(self, text):
        self.page.fill("#prompt", text)
        self.page.press("#prompt", "Enter")

    def finished(self):
        expect(self.page.locator("#stop")).to_be_hidden()

    def ask(self, text, answer):
        self.plan({"pieces": [answer]})
        self.say(text)
        self.finished()

    @property
    def last(self):
        return self.page.locator("#messages > li").last

    def last_sent(self):
        return self.page.evaluate("() => window.sent.filter(each => each.body).at(-1)")

    def close(self):
        strangers = [url for url in self.requests if not url.startswith((self.url, "data:", "blob:"))]
        self.context.close()
        assert not strangers, f"the page asked for {strangers[:3]}; expected no other server"
        assert not self.problems, self.problems[:5]


@check
def serves_one_document_with_a_strict_policy(browser, url):
    visit = Visit(browser, url, stubbed=False)
    headers = visit.answer.headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy, policy
    assert headers["content-type"].startswith("text/html"), headers
    assert headers["x-content-type-options"] == "nosniff", headers
    documents = [each for each in visit.requests if not re.search(r"/(v1/models|metrics)$", each)]
    assert documents == [url], documents
    visit.close()


@check
def streams_from_the_server(browser, url):
    visit = Visit(browser, url, stubbed=False)
    page = visit.page
    page.click("#open-settings")
    page.get_by_label("Continue the text").check()
    page.get_by_label("Max tokens").fill("40")
    page.get_by_label("Seed").fill("7")
    page.keyboard.press("Escape")
    visit.say("Once upon a time")
    visit.finished()
    expect(visit.last.locator(".body")).not_to_be_empty()
    expect(visit.last.locator(".timing")).to_contain_text("tokens/s")
    expect(visit.last.locator(".timing")).to_contain_text("prompt")
    first = visit.last.locator(".body").inner_text()
    assert len(first) > 20, first
    visit.last.get_by_label("Answer again").click()
    expect(visit.last.locator(".count")).to_have_text("2/2")
    visit.finished()
    assert visit.last.locator(".body").inner_text() == first, "the same seed gave another text"
    page.click("#send")
    expect(page.locator("#messages > li")).to_have_count(3)
    visit.finished()
    page.click("#activity summary")
    expect(page.locator("#activity-rows tr").first).to_be_visible()
    expect(page.locator("#activity-brief")).not_to_be_empty()
    visit.close()


@check
def shows_pieces_as_they_come_and_stops(browser, url):
    visit = Visit(browser, url)
    page = visit.page
    visit.plan({"pieces": ["One ", "two ", "**three**"], "holds": True, "delay": 30})
    visit.say("Count")
    expect(visit.last.locator("strong")).to_have_text("three")
    expect(page.locator("#messages")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#list li.busy")).to_have_count(1)
    page.press("#prompt", "Escape")
    visit.finished()
    expect(visit.last.locator(".timing")).to_contain_text("stopped by you")
    expect(visit.last.locator(".body")).to_have_text("One two three")
    expect(page.locator("#messages")).to_have_attribute("aria-busy", "false")
    visit.plan({"pieces": ["a"], "holds": True})
    visit.say("Again")
    page.get_by_label("Stop the answer").click()
    visit.finished()
    visit.close()


@check
def answers_again_and_edits(browser, url):
    visit = Visit(browser, url)
    page = visit.page
    visit.ask("First question", "First answer")
    visit.plan({"pieces": ["Second answer"]})
    visit.last.get_by_label("Answer again").click()
    expect(visit.last.locator(".body")).to_have_text("Second answer")
    expect(visit.last.locator(".count")).to_have_text("2/2")
    visit.last.get_by_label("Earlier answer").click()
    expect(visit.last.locator(".body")).to_have_text("First answer")
    visit.ask("Follow up", "Third answer")
    contents = [each["content"] for each in visit.last_sent()["body"]["messages"]]
    assert contents == ["First question", "First answer", "Follow up"], contents
    first = page.locator("#messages > li").first
    first.hover()
    first.get_by_label("Edit", exact=True).click()
    area = page.get_by_label("Edit the message")
    expect(area).to_be_focused()
    area.fill("Better question")
    visit.plan({"pieces": ["Better answer"]})
    area.press("Enter")
    visit.finished()
    expect(page.locator("#messages > li")).to_have_count(2)
    expect(visit.last.locator(".body")).to_have_text("Better answer")
    page.locator("#toast").get_by_text("Undo").click()
    expect(page.locator("#messages > li")).to_have_count(4)
    expect(page.locator("#messages > li").first.locator(".body")).to_have_text("First question")
    visit.last.get_by_label("Edit", exact=True).click()
    area.fill("A corrected answer")
    page.get_by_role("button", name="Save").click()
    expect(visit.last.locator(".body")).to_have_text("A corrected answer")
    visit.close()


hostile = """
<img src=x onerror=alert(1)><script>alert(2)</script><svg onload=alert(3)>
[one](javascript:alert(4)) [two](JaVaScRiPt:alert(5)) [three](data:text/html,<script>alert(6)</script>)
[four]( java\tscript:alert(7)) [five](vbscript:alert(8)) [six](//elsewhere.example/) [seven](/v1/models)
![picture](https://elsewhere.example/pixel.png) <https://elsewhere.example/" onclick=alert(9)>
[safe](https://elsewhere.example/page "title onclick=alert(10)") `<b>code</b>`

# <b>heading</b>

| <i>a</i> | b |
|---|---|
| <script>alert(11)</script> | [x](javascript:alert(12)) |

```<img/src=x onerror=alert(13)>
</code></pre><script>alert(14)</script>
```
"""


@check
def treats_a_model_as_hostile(browser, url):
    visit = Visit(browser, url)
    page = visit.page
    visit.ask("<img src=x onerror=alert(0)>", hostile)
    body = visit.last.locator(".body")
    for name in ["img", "script", "svg", "b", "i", "iframe", "style", "[onerror]", "[onclick]", "[onload]", "[style]"]:
        expect(body.locator(name)).to_have_count(0)
    addresses = body.locator("a").evaluate_all("links => links.map(link => [link.protocol, link.rel, link.target])")
    assert len(addresses) >= 2, addresses
    assert all(each == ["https:", "noopener noreferrer nofollow", "_blank"] for each in addresses), addresses
    text = body.inner_text()
    for part in ["<script>alert(2)</script>", "<b>code</b>", "alert(14)", "[one](javascript:alert(4))"]:
        assert part in text, part
    expect(page.locator("#list .open")).to_have_text("<img src=x onerror=alert(0)>")
    page.reload()
    expect(page.locator("#messages > li")).to_have_count(2)
    visit.close()


@check
def renders_markdown(browser, url):
    visit = Visit(browser, url)
    body = visit.last.locator(".body")
    visit.ask("Show", "\n".join([
        "# One", "Text with **bold**, *slanted*, ***both***, ~~gone~~, `code *x*`, snake_case_name and 2 * 3 * 4.",
        "Second line", "", "1. first", "2. second", "   - inner *a*", "   - inner b", "", "3. third", "", "> quoted",
        "> more", "", "| A | B |", "|:-:|--:|", "| 1 | 2 |", "", "---", "", "```python", "print('<x>')", "",
        "# no heading", "```", "End \\*plain\\*"]))
    counts = {
        "h2": 1, "strong": 2, "em": 3, "del": 1, "p > code": 1, "ol": 1, "ol > li": 3, "ol ul > li": 2,
        "blockquote": 1, "table": 1, "td.end": 1, "th.middle": 1, "hr": 1, "pre code": 1, "br": 2,
    }
    for name, count in counts.items():
        expect(body.locator(name)).to_have_count(count)
    expect(body.locator("pre code")).to_have_text("print('<x>')\n\n# no heading")
    text = body.inner_text()
    assert "snake_case_name and 2 * 3 * 4." in text and "End *plain*" in text, text
    visit.close()


@check
def renders_long_and_strange_text(browser, url):
    visit = Visit(browser, url)
    size = 60_000
    for text in [
        "*a " * size, "`" * size, "".join("`" * (1 + i % 300) + " " for i in range(size // 150)), "[" * size,
        "[a](" * (size // 4), "> " * size, "- " * size, "#" * size + "x", "```" + " " * size + "`", "| a " * size,
        "\n".join(" " * (i % 40) + "- x" for i in range(2000)), "**_~~" * (size // 5), "\n" * size, "\\" * size,
        "- a" + "\n" * size + "- b", "http://" * (size // 7), "\u202e" + "x" * size, "`a` " * (size // 4)]:
        visit.ask("Go", text)
        visit.page.click("#new")
    visit.close()


@check
def keeps_several_conversations(browser, url):
    visit = Visit(browser, url)
    page = visit.page
    visit.ask("About apples", "Red")
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("#messages > li")).to_have_count(0)
    visit.plan({"pieces": ["slow", "ly"], "delay": 600})
    visit.say("About pears")
    page.get_by_role("button", name="About apples", exact=True).click()
    expect(visit.last.locator(".body")).to_have_text("Red")
    expect(page.locator("#list li.busy")).to_have_count(1)
    expect(page.locator("#list li.busy")).to_have_count(0)
    page.get_by_role("button", name="About pears", exact=True).click()
    expect(visit.last.locator(".body")).to_have_text("slowly")
    page.reload()
    expect(visit.last.locator(".body")).to_have_text("slowly")
    expect(page.locator("#list li")).to_have_count(2)
    page.fill("#filter", "red")
    expect(page.locator("#list li .open")).to_have_text(["About apples"])
    page.fill("#filter", "")
    page.fill("#title", "Fruit")
    page.press("#title", "Enter")
    expect(page.locator("#list li .open").first).to_have_text("Fruit")
    page.get_by_label("Delete Fruit").click()
    expect(page.locator("#list li")).to_have_count(1)
    page.locator("#toast").get_by_text("Undo").click()
    expect(page.locator("#list li")).to_have_count(2)
    expect(visit.last.locator(".body")).to_have_text("slowly")
    other = visit.context.new_page()
    visit.watch(other)
    other.goto(url)
    expect(other.locator("#list li")).to_have_count(2)
    visit.ask("Seen elsewhere", "Yes")
    expect(other.locator("#messages > li").last.locator(".body")).to_have_text("Yes")
    visit.close()


@check
def sends_the_settings(browser, url):
    visit = Visit(browser, url)
    page = visit.page
    page.click("#open-settings")
    page.get_by_label("System prompt").fill("Be brief.")
    values = {
        "Temperature": "0.5", "Top-p": "0,9", "Top-k": "40", "Min-p": "0.05", "Max tokens": "12", "Seed": "7",
        "Presence penalty": "-1", "Frequency penalty": "1.5", "Repetition penalty": "1.1",
    }
    for label, value in values.items():
        page.get_by_label(label, exact=True).fill(value)
    page.get_by_label("Stop texts, one a line").fill("END\nSTOP")
    page.get_by_label("API key", exact=True).fill("secret-1")
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    visit.ask("Hello", "Hi")
    sent = visit.last_sent()
    body = sent["body"]
    wanted = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "max_tokens": 12, "seed": 7,
        "presence_penalty": -1, "frequency_penalty": 1.5, "repetition_penalty": 1.1, "stop": ["END", "STOP"],
        "stream": True, "stream_options": {"include_usage": True},
    }
    assert {key: body.get(key) for key in wanted} == wanted, body
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}, body
    assert sent["headers"]["Authorization"] == "Bearer secret-1", sent
    assert "secret-1" not in page.evaluate("() => JSON.stringify(localStorage)")
    page.click("#open-settings")
    page.get_by_label("Temperature").fill("-1")
    expect(page.get_by_label("Temperature")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Seed").fill("1.5")
    expect(page.locator(".wrong").filter(has_text="whole number")).to_be_visible()
    page.get_by_label("Keep the key in this browser").check()
    page.get_by_role("button", name="Close the settings").click()
    visit.ask("Again", "Hi")
    body = visit.last_sent()["body"]
    assert "temperature" not in body and "seed" not in body and body["top_k"] == 40, body
    assert page.evaluate("() => localStorage.getItem('bitnet:key')") == "secret-1"
    page.reload()
    page.click("#open-settings")
    expect(page.get_by_label("Top-k")).to_have_value("40")
    expect(page.get_by_label("System prompt")).to_have_value("Be brief.")
    page.get_by_role("button", name="Clear all fields").click()
    page.keyboard.press("Escape")
    visit.ask("Third", "Hi")
    assert "top_k" not in visit.last_sent()["body"]
    visit.close()


@check
def explains_failures(browser, url):
    visit = Visit(browser, url)
    error = lambda text: json.dumps({"error": {"message": text, "type": "x", "code": None}})
    visit.plan({"status": 429, "headers": {"Retry-After": "3"}, "body": error("The queue is full.")})
    visit.say("One")
    expect(visit.last.locator(".fault")).to_contain_text("The queue is full. The server asks to wait 3 s.")
    visit.plan({"pieces": ["Half an ans"], "cut": True})
    visit.last.get_by_text("Try again").click()
    expect(visit.last.locator(".fault")).to_contain_text("The connection ended before the answer did.")
    expect(visit.last.locator(".body")).to_have_text("Half an ans")
    visit.plan({"status": 401, "body": error("The API key is wrong.")})
    visit.say("Two")
    visit.last.get_by_text("Enter a key").click()
    expect(visit.page.locator("#key")).to_be_focused()
    visit.page.keyboard.press("Escape")
    visit.plan({"status": 500, "body": "<html>no JSON</html>"})
    visit.say("Three")
    expect(visit.last.locator(".fault")).to_contain_text("The server answered 500.")
    visit.plan({"pieces": ["ab"], "finish": "length"})
    visit.last.get_by_text("Try again").click()
    expect(visit.last.locator(".timing")).to_contain_text("limit of tokens")
    expect(visit.last.locator(".count")).to_have_count(0)
    visit.close()


@check
def exports_and_imports(browser, url):
    visit = Visit(browser, url)
    page = visit.page
    visit.ask("Keep me", "Kept")
    page.click("#open-settings")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    text = pathlib.Path(download.value.path()).read_text()
    assert json.loads(text)["conversations"][0]["title"] == "Keep me"
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("button", name="Really delete all?").click()
    expect(page.locator("#list .none")).to_be_attached()
    files = pathlib.Path(tempfile.mkdtemp())
    damaged = json.loads(text)
    damaged["conversations"][0]["messages"][0]["versions"] = [{"text": {"toString": 1}}]
    foreign = json.loads(text)
    foreign["conversations"][0]["id"] = "../<img>"
    for name, content, note in [
        ("a.json", "{", "not JSON"), ("b.json", "[]", "another format"), ("c.json", json.dumps(damaged), "damaged"),
        ("d.json", json.dumps(foreign), "damaged"), ("e.json", text, "1 conversation imported")]:
        (files / name).write_text(content)
        page.locator("#import-file").set_input_files(files / name)
        expect(page.locator("#data-note")).to_contain_text(note)
    shutil.rmtree(files)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Keep me", exact=True).click()
    expect(visit.last.locator(".body")).to_have_text("Kept")
    visit.close()


@check
def survives_a_damaged_store(browser, url):
    visit = Visit(browser, url)
    visit.page.evaluate("""() => {
      localStorage.setItem("bitnet:conversation:00000000", "{");
      localStorage.setItem("bitnet:conversation:11111111", JSON.stringify({ id: "11111111", messages: [{}] }));
      localStorage.setItem("bitnet:settings", JSON.stringify({ temperature: "hot", stop: 3, theme: "<b>" }));
    }""")
    visit.page.reload()
    visit.ask("Still there?", "Yes")
    assert "temperature" not in visit.last_sent()["body"]
    visit.close()


@check
def obeys_the_keyboard(browser, url):
    visit = Visit(browser, url)
    page = visit.page
    page.locator("#theme").focus()
    page.keyboard.press("/")
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("a/b")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("c")
    expect(page.locator("#prompt")).to_have_value("a/b\nc")
    visit.plan({"pieces": ["ok"]})
    page.keyboard.press("Enter")
    visit.finished()
    expect(page.locator("#live")).to_have_text("Answer: ok")
    page.evaluate("() => document.body.focus()")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#prompt")).to_be_focused()
    visit.close()


@check
def names_every_control(browser, url):
    visit = Visit(browser, url)
    visit.ask("Hello", "Some `code`\n\n```\nx\n```")
    visit.page.click("#open-settings")
    nameless = visit.page.evaluate("""() => [...document.querySelectorAll("button, input, select, textarea, dialog")]
      .filter(each => !each.getAttribute("aria-label") && !each.getAttribute("aria-labelledby")
        && !(each.labels?.length > 0) && !each.textContent.trim())
      .map(each => each.id || each.className)""")
    assert nameless == [], nameless
    doubled = visit.page.evaluate("""() => [...document.querySelectorAll("[id]")].map(each => each.id)
      .filter((id, index, all) => all.indexOf(id) !== index)""")
    assert doubled == [], doubled
    visit.close()


@check
def follows_the_theme(browser, url):
    colours = []
    for scheme in ["light", "dark"]:
        visit = Visit(browser, url, color_scheme=scheme)
        page = visit.page
        colour = lambda: page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        colours.append(colour())
        page.click("#theme")
        light = colour()
        page.click("#theme")
        dark = colour()
        page.reload()
        assert colour() == dark, "the chosen appearance was forgotten"
        colours.append((light, dark))
        visit.close()
    assert colours[0] == colours[1][0] and colours[2] == colours[1][1] and colours[1] == colours[3], colours
    assert colours[0] != colours[2], colours


@check
def fits_a_phone(browser, url):
    visit = Visit(browser, url, **phone)
    page = visit.page
    code = "```\n" + "wide " * 100 + "\n```"
    visit.ask("Wide " * 30, f"A very{'long' * 200}\n\n{code}\n\n{'| a ' * 40}\n{'|-' * 40}")
    fits = """() => [document.documentElement, document.querySelector("#scroll")]
      .every(each => each.scrollWidth <= innerWidth)"""
    assert page.evaluate(fits)
    expect(page.locator("#new")).not_to_be_in_viewport()
    page.get_by_label("Show the list of conversations").tap()
    expect(page.locator("#new")).to_be_in_viewport()
    page.get_by_role("button", name="New conversation").tap()
    expect(page.locator("#new")).not_to_be_in_viewport()
    page.get_by_label("Show the list of conversations").tap()
    page.get_by_role("button", name="Settings").tap()
    expect(page.get_by_label("Temperature")).to_be_visible()
    assert page.evaluate(fits)
    small = page.evaluate("""() => [...document.querySelectorAll("button, select")].filter(each => each.offsetParent)
      .filter(each => each.getBoundingClientRect().height < 24).map(each => each.id || each.textContent)""")
    assert small == [], small
    visit.close()


def take_screenshots(browser, url, target):
    target.mkdir(parents=True, exist_ok=True)
    for scheme in ["light", "dark"]:
        for name, options in [("desktop", desktop), ("phone", phone)]:
            visit = Visit(browser, url, color_scheme=scheme, **options)
            visit.ask("Show me a list", "Here **it** is:\n\n1. one\n2. two\n\n```swift\nprint(1)\n```")
            visit.page.screenshot(path=target / f"{name}-{scheme}.png")
            visit.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--only", default="")
    parser.add_argument("--screenshots", type=pathlib.Path)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        url = arguments.target
        if not url.startswith("http"):
            url = stack.enter_context(Server(pathlib.Path(url).resolve())).url
        run(url.rstrip("/") + "/", arguments)


def run(url, arguments):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("chromium is not installed; expected it in PATH (on Debian: apt install chromium)")
    failures = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for function in checks:
            if arguments.only not in function.__name__:
                continue
            try:
                function(browser, url)
                print(f"ok    {function.__name__}", flush=True)
            except Exception:
                failures += 1
                print(f"FAIL  {function.__name__}", flush=True)
                traceback.print_exc()
        if arguments.screenshots:
            take_screenshots(browser, url, arguments.screenshots)
        browser.close()
    if failures:
        sys.exit(f"{failures} of the page's checks failed")


if __name__ == "__main__":
    main()
