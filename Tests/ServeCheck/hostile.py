"""Clients that are careless or hostile. The server answers or closes, and serves others meanwhile."""
import random
import socket
import threading
import time

from harness import Server, case, check, post, read_all, responses, status

CHAT = {"messages": [{"role": "user", "content": "Once"}], "max_tokens": 4, "seed": 1}


@case("bodies that are no JSON, or nothing that a request can be")
def _(program):
    with Server(program) as server:
        for body in [b"", b"{", b"\xff\xfe{}", b'{"messages": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000,
                     b'{"messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
                     b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
                     b'{"messages": [{"role": "user", "content": "a"}], "temperature": 1e400}',
                     b'{"messages": [{"role": "user", "content": "a"}], "seed": 1e400}',
                     b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": -9223372036854775809}',
                     b'{"messages": [{"role": "user", "content": "a"}], "top_k": 1e18}',
                     b'{"messages": [], "messages": []}', b"null", b"[]", b"7", b'"text"', bytes(1000),
                     b'{"messages": [{"role": "user", "content": "' + b"king " * 1_000_000 + b'"}]}']:
            for path in ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize", "/apply-template"]:
                found = status(server.raw(post(path, body, "Connection: close")))
                check(found == 400 or found == 200 and path in ("/tokenize", "/apply-template"),
                      f"{path} answers {body[:40]!r} with {found}")
        server.json("POST", "/v1/chat/completions", CHAT)


@case("HTTP that is malformed")
def _(program):
    with Server(program) as server:
        for data in [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
                     b"GET / HTTP/1.1\r\nA\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
                     b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                     b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nabc",
                     b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", random.Random(1).randbytes(4096),
                     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]:
            answer = server.raw(data, timeout=40)
            check(status(answer) in (400, 404, 405, 505, None), f"answers {data[:30]!r} with {answer[:80]!r}")
        answer = server.raw(b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 200_000 + b"\r\n\r\n")
        check(status(answer) in (431, None), f"answers a long head with {answer[:80]!r}")
        server.json("GET", "/health")


@case("bodies of 100 MB, announced, sent in chunks or waited for")
def _(program):
    with Server(program) as server:
        before = server.memory()
        start = time.monotonic()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with server.connect() as connection:
            connection.sendall(head + b"Content-Length: 100000000\r\n\r\n")
            answer = connection.recv(4096)
            check(status(answer) == 413, f"answers {answer[:80]!r}")
        check(time.monotonic() - start < 2, "waits for the body")
        for path, form in [("/v1/messages", b'{"type":"error","error":{'), ("/api/chat", b'{"error":"')]:
            other = head.replace(b"/v1/chat/completions", path.encode())
            answer = server.raw(other + b"Content-Length: 100000000\r\n\r\n")
            check(status(answer) == 413 and form in answer, f"answers {path} with {answer!r}")
        answer = server.raw(head + b"Content-Length: 100000000\r\n\r\n" + bytes(100_000_000))
        check(status(answer) == 413, f"answers {answer[:80]!r}")
        chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        answer = server.raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 100)
        check(status(answer) == 413, f"answers chunks with {answer[:80]!r}")
        with server.connect() as connection:
            connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n")
            check(status(connection.recv(4096)) == 413, "asks for a body that it will refuse")
        data = b'{"messages": [{"role": "user", "content": "a"}], "max_tokens": 2}'
        with server.connect() as connection:
            connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(data))
            check(status(connection.recv(4096)) == 100, "does not ask for a body")
            connection.sendall(data)
            check(status(connection.recv(4096)) == 200, "does not answer after a body that it asked for")
        check(server.memory() - before < 200 << 20, f"grows by {(server.memory() - before) >> 20} MiB")


@case("pipelined requests, HTTP/1.0, and connections that stay open")
def _(program):
    with Server(program) as server:
        get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        answer = server.raw(get * 50 + last)
        check(responses(answer) == [200] * 51, f"answers {responses(answer)}")
        answer = server.raw(post("/v1/chat/completions", CHAT) * 5 + get + post("/v1/nothing", b"{}") + get
                            + post("/v1/chat/completions", b"{") + last)
        check(responses(answer) == [200] * 6 + [404, 200, 400, 200], f"answers {responses(answer)}")
        answer = server.raw(get * 3 + b"nonsense\r\n\r\n")
        check(responses(answer) == [200, 200, 200, 400], f"answers {responses(answer)}")
        answer = server.raw(b"GET /health HTTP/1.0\r\n\r\n")
        check(answer.startswith(b"HTTP/1.0 200") or status(answer) == 200, f"answers HTTP/1.0 with {answer[:80]!r}")
        answer = server.raw(post("/v1/chat/completions", {**CHAT, "stream": True}, version="1.0"))
        check(b"chunked" not in answer.lower() and answer.endswith(b"data: [DONE]\n\n"), f"streams {answer[-80:]!r}")


@case("clients that send byte by byte, or read nothing, and a thousand that say nothing")
def _(program):
    with Server(program, "--head-timeout", "3", "--body-timeout", "3", "--write-timeout", "3") as server:
        silent = [server.connect() for _ in range(1000)]
        server.json("POST", "/v1/chat/completions", CHAT)

        def drip(data, outcome):
            with server.connect() as connection:
                start = time.monotonic()
                try:
                    for byte in data:
                        connection.sendall(bytes([byte]))
                        time.sleep(0.2)
                        if time.monotonic() - start > 15:
                            break
                    answer = read_all(connection)
                except (BrokenPipeError, ConnectionResetError):
                    answer = b""
                outcome.append((time.monotonic() - start, answer))

        slow = [[], []]
        threads = [threading.Thread(target=drip, args=(data, outcome)) for data, outcome in [
            (b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 100, slow[0]),
            (post("/v1/chat/completions", b" " * 1000), slow[1])]]
        reader = server.connect()
        # The window stays closed once it is full.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.sendall(post("/v1/completions", {"prompt": "a", "max_tokens": 1, "logprobs": 20, "echo": True, "n": 128,
                                                "stop": ["x" * 1000] * 64}) * 50)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.json("POST", "/v1/chat/completions", CHAT)
        check(slow[0][0][0] < 10, f"waits {slow[0][0][0]:.1f} s for a head")
        check(slow[1][0][0] < 10, f"waits {slow[1][0][0]:.1f} s for a body")
        check(status(slow[1][0][1]) in (408, None), f"answers a slow body with {slow[1][0][1][:80]!r}")
        for connection in silent:
            connection.settimeout(10)
            check(connection.recv(1) == b"", "keeps a silent connection")
            connection.close()
        reader.close()
        server.json("GET", "/health")


@case("clients that leave at every stage")
def _(program):
    with Server(program) as server:
        whole = post("/v1/chat/completions", {**CHAT, "max_tokens": 1000, "stream": True})
        for cut in list(range(0, len(whole), 40)) + [len(whole)] * 20:
            with server.connect() as connection:
                connection.sendall(whole[:cut])
                if cut == len(whole):
                    connection.recv(random.Random(cut).choice([1, 100, 5000]))
        for body in [{**CHAT, "max_tokens": 2000}, {**CHAT, "max_tokens": 2000, "n": 8}]:
            with server.connect() as connection:
                connection.sendall(post("/v1/chat/completions", body))
                time.sleep(0.05)
        start = time.monotonic()
        server.json("POST", "/v1/chat/completions", CHAT)
        check(time.monotonic() - start < 5, "works on for clients that have left")
