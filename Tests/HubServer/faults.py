"""Cases in which the hub makes mistakes."""
import json
import time

from harness import HUGE, LARGE, case, check, faulty, flip, model, sets, status
from hub_server import COMMIT, TOKEN, File


@case("connections are cut")
def _(c):
    c.pull(faulty(c, "large", sets(stop=400_000)))
    c.refuse(faulty(c, "large", sets(stop=0)), "model.safetensors")
    c.pull(faulty(c, "info tree file", sets(stop=5), times=3))


@case("a file continues where the connection ended")
def _(c):
    # What is in the buffers of a connection that is cut may be lost: it is cut when they have been read.
    hub = faulty(c, "large", sets(stop=1_000_000, rest=1), times=2)
    c.pull(hub)
    check(hub.sent < len(LARGE) + 1_000_000, f"{hub.sent} bytes for {len(LARGE)}")


@case("connections stall")
def _(c):
    c.pull(faulty(c, "large", sets(stop=500_000, stalls=True), times=2))


@case("connections stall for ever, or a head never ends")
def _(c):
    c.refuse(faulty(c, "info", sets(stop=3, stalls=True)), "nothing arrived|in full")
    c.refuse(faulty(c, "info", sets(drip=0.3)), "no answer in time|nothing arrived")


@case("too many bytes")
def _(c):
    def longer(answer):
        answer.body += b"more"
        answer.headers.pop("Content-Length", None)
    c.refuse(faulty(c, "large", longer), "more than|expected 3000000")
    c.refuse(faulty(c, "file", lambda a: (longer(a), sets(chunked=True)(a))), "more than")


@case("too few bytes, with and without a length")
def _(c):
    c.refuse(faulty(c, "file", lambda a: sets(body=a.body[:-1])(a)), "expected")
    c.refuse(faulty(c, "file", lambda a: sets(body=a.body[:-1], chunked=True)(a)), "ended at byte")


@case("wrong bytes of the right length")
def _(c):
    c.refuse(faulty(c, "large", flip), "SHA-256 of model.safetensors is")
    c.refuse(faulty(c, "file", flip), "git SHA-1 of")
    c.pull(faulty(c, "large", flip, times=1))


@case("another etag, or one that is a path")
def _(c):
    for value in ('"changed"', '"../../../evil"', '"/evil"'):
        hub = faulty(c, "resolve file large", lambda a: a.headers.update({"ETag": value, "X-Linked-ETag": value,
                                                                            "X-Repo-Commit": "../../evil"}))
        c.pull(hub)


@case("a commit or hash that is a path")
def _(c):
    c.refuse(faulty(c, "info", sets(body=b'{"sha": "../../../evil"}')), "expected 40 hexadecimal digits")
    evil = [{"type": "file", "path": "config.json", "size": 3, "oid": "../evil"}]
    c.refuse(faulty(c, "tree", sets(body=json.dumps(evil).encode())), "expected hexadecimal digits")


@case("names that lead out of the folder")
def _(c):
    for name in ("../evil", "a/../../evil", "/tmp/evil", "a\\..\\evil", "", "a//evil", ".", "a\0b"):
        c.refuse(c.hub(model(**{name: File(b"x", False)})), "leads out of its folder")


@case("sizes that make no sense")
def _(c):
    for size in (-1, 1 << 62):
        entry = [{"type": "file", "path": "config.json", "size": size, "oid": "0" * 40}]
        c.refuse(faulty(c, "tree", sets(body=json.dumps(entry).encode())), "the size of config.json")


@case("status 416")
def _(c):
    c.pull(faulty(c, "large", status(416), times=1))
    c.refuse(faulty(c, "large", status(416)), "does not have the bytes")


@case("status 429, with the time to wait in either header")
def _(c):
    start = time.monotonic()
    c.pull(faulty(c, "info", status(429, {"Retry-After": "1"}), times=1))
    c.pull(faulty(c, "tree", status(429, {"RateLimit": '"api";r=0;t=1'}), times=1))
    check(time.monotonic() - start >= 2, "does not wait")
    c.refuse(faulty(c, "info", status(429, {"Retry-After": "86400"})), "too many requests")


@case("status 5xx for a while, and for ever")
def _(c):
    c.pull(faulty(c, "info tree resolve large", status(503), times=4))
    c.refuse(faulty(c, "info", status(502)), "error 502")


@case("a redirect loop, and redirects to nowhere")
def _(c):
    c.refuse(faulty(c, "info", status(302, {"Location": "/api/models/org/model/revision/main"})), "more than 10 times")
    c.refuse(faulty(c, "info", status(302)), "redirects to nowhere")
    c.refuse(faulty(c, "resolve", status(302, {"Location": "file:///etc/passwd"})), "not http")
    c.refuse(faulty(c, "resolve", status(302, {"Location": "http://192.0.2.1/"})), "expected an https address")


@case("no length")
def _(c):
    c.pull(faulty(c, "file large", sets(chunked=True)))


@case("no ranges")
def _(c):
    def whole(kind, request, answer):
        if kind == "large":
            answer.status, answer.body = 200, HUGE
            answer.headers.pop("Content-Range", None)
            if whole.hub.count("whole") == 0:
                answer.stop = 40 << 20
    hub = whole.hub = c.hub(model(HUGE), fault=whole)
    c.pull(hub)


@case("another range than asked for")
def _(c):
    c.refuse(faulty(c, "large", lambda a: a.headers.update({"Content-Range": "bytes 5-9/10"}), files=model(HUGE)),
             "expected bytes")


@case("an address of the network expires")
def _(c):
    c.pull(faulty(c, "large", status(403), times=2, files=model(HUGE)))


@case("gated, private and missing models, in the hub's words")
def _(c):
    def gated(number):
        return status(number, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."})
    c.refuse(faulty(c, "info", gated(401)), 'gated: "Access is restricted".*accept its terms at .*HF_TOKEN')
    c.refuse(faulty(c, "info", gated(403)), "ask for access", variables={"HF_TOKEN": TOKEN})
    c.refuse(c.hub(private=True), 'is not at .*: "Repository not found".*HF_TOKEN')
    c.refuse(c.hub(), "is not at", name="org/other", variables={"HF_TOKEN": TOKEN})
    c.refuse(c.hub(), 'does not accept the token: "Invalid credentials', variables={"HF_TOKEN": "hf_bad"})
    c.refuse(c.hub(), 'does not have this revision: "Invalid rev id: v9"', "--revision", "v9")
    c.refuse(c.hub(), "has no file", "--file", "x.gguf")


@case("answers that are no JSON, or other JSON")
def _(c):
    c.refuse(faulty(c, "info", sets(body=b"<html>")), "not JSON")
    c.refuse(faulty(c, "info", sets(body=b"{}")), "sha")
    c.refuse(faulty(c, "tree", sets(body=b'{"error": 1}')), "cannot be used")
    c.pull(faulty(c, "tree", sets(body=b'[{"type"'), times=1))


@case("a list without end")
def _(c):
    def endless(kind, request, answer):
        if kind == "tree":
            answer.body = b"[]"
            number = endless.hub.count("page") if endless.counts else 0
            page = f"/api/models/org/model/tree/{COMMIT}?recursive=true&cursor=9{number}"
            answer.headers["Link"] = f'<{page}>; rel="next"'
    for endless.counts in (True, False):
        endless.hub = c.hub(fault=endless)
        c.refuse(endless.hub, "does not end")


@case("a next page on another origin does not get the token")
def _(c):
    def elsewhere(kind, request, answer):
        if kind == "tree":
            answer.headers["Link"] = f'<{elsewhere.hub.network_endpoint}/next>; rel="next"'
    elsewhere.hub = c.hub(fault=elsewhere)
    c.refuse(elsewhere.hub, "status 404|is not at", variables={"HF_TOKEN": TOKEN})
    check(not any("Authorization" in r[3] for r in elsewhere.hub.requests if r[0] == elsewhere.hub.network.server_port),
          "the token leaves the hub")


@case("a length that is not the list's")
def _(c):
    files = model()
    entry = [{"type": "file", "path": "config.json", "size": 7, "oid": files["config.json"].sha1},
             files["model.safetensors"].entry("model.safetensors")]
    c.refuse(faulty(c, "tree", sets(body=json.dumps(entry).encode())), "config.json")
