"""Sends requests that are mutated at random: their values, their bytes, their HTTP. Each input has a number, and the
seed and the number make it again.

Whatever comes, the server answers with a status that is no fault of its own, or closes the connection, and goes on.
"""
import collections
import json
import pathlib
import queue
import random
import socket
import struct
import threading

from harness import Server, case, check, read_all, responses

ROOT = pathlib.Path(__file__).resolve().parents[2]
INPUTS, SEED, FIRST = 2000, 0, 0
CLIENTS = 8

TALK = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Once upon a time"}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}, "b": {"enum": ["x", 1, None]}},
          "required": ["a"], "additionalProperties": False}
TOOL = {"name": "look", "description": "Looks.", "parameters": SCHEMA}
REQUESTS = [
    ("/v1/chat/completions", {"model": "demo", "messages": TALK, "max_tokens": 4, "temperature": 0.5, "seed": 7}),
    ("/v1/chat/completions", {"messages": TALK, "max_completion_tokens": 3, "stream": True, "logprobs": True,
                              "top_logprobs": 2, "stream_options": {"include_usage": True}, "n": 2}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "A"}]}],
                              "max_tokens": 6, "logit_bias": {"65": 5, "70": -100}, "stop": ["\n", "e"],
                              "response_format": {"type": "json_schema",
                                                  "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}}}),
    ("/v1/chat/completions", {"messages": TALK, "max_tokens": 4, "tools": [{"type": "function", "function": TOOL}],
                              "tool_choice": {"type": "function", "function": {"name": "look"}},
                              "parallel_tool_calls": False}),
    ("/v1/completions", {"prompt": ["Once", "The king"], "max_tokens": 3, "echo": True, "logprobs": 3, "n": 2}),
    ("/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 3, "top_p": 0.9, "top_k": 5, "min_p": 0.1,
                         "repetition_penalty": 1.1, "stream": True, "stop_token_ids": [3], "ignore_eos": True}),
    ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "A"}]}],
                       "instructions": "Be kind.", "max_output_tokens": 3, "stream": True}),
    ("/v1/responses", {"input": "A", "max_output_tokens": 3, "text": {"format": {"type": "json_object"}}}),
    ("/v1/messages", {"model": "demo", "system": "A", "messages": [{"role": "user", "content": "B"}], "max_tokens": 3,
                      "stop_sequences": ["e"], "stream": True}),
    ("/v1/messages/count_tokens", {"model": "demo", "messages": [{"role": "user", "content": "B"}]}),
    ("/v1/embeddings", {"model": "vectors", "input": ["A", "B"], "dimensions": 8, "encoding_format": "base64"}),
    ("/api/embed", {"model": "vectors", "input": "A", "truncate": True}),
    ("/api/embeddings", {"model": "vectors", "prompt": "A"}),
    ("/api/chat", {"model": "demo", "messages": TALK, "stream": True, "options": {"num_predict": 3, "seed": 1}}),
    ("/api/generate", {"model": "demo", "prompt": "A", "format": SCHEMA, "options": {"num_predict": 3},
                       "keep_alive": "5m"}),
    ("/api/show", {"model": "demo"}),
    ("/tokenize", {"prompt": "A text", "add_special_tokens": True}),
    ("/detokenize", {"tokens": [1, 2, 3]}),
    ("/apply-template", {"messages": TALK, "chat_template_kwargs": {"a": [1, {"b": None}]}}),
    *(("GET " + path, None) for path in ["/", "/health", "/ready", "/version", "/metrics", "/v1/models",
                                         "/v1/models/demo", "/tokenizer_info", "/api/version", "/api/tags", "/api/ps"]),
]
VALUES = [None, True, False, 0, -1, 1, 2, 0.5, -0.0, 1e-400, 1e308, 2**31, 2**53 + 1, 2**63, 2**64, -2**63 - 1, "", "a",
          "\0", "\ud800", "é\u0301😀", "\u202e", "}" * 50, "<|im_start|>", "a" * 5000, [], {}, [[]], [None], {"": 0},
          {"type": "object"}, {"$ref": "#"}, {"pattern": "(a*)*b"}, {"type": "string", "minLength": 10**9}]
WORDS = [b"\r\n", b"\0", b"\xff", b"\xed\xa0\x80", b"{", b"]", b"\"", b"\\u", b"1e999", b"-", b"Content-Length: 7\r\n",
         b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"HTTP/1.0",
         b"HTTP/3.7", b"%00", b"%zz", b"..//", b"\r\n\r\n", b" " * 300]


def mutated(value, data):
    """A JSON value of which one part or a few are others."""
    if data.random() < 0.15:
        return data.choice(VALUES)
    if isinstance(value, dict) and value:
        result = dict(value)
        name = data.choice(list(result))
        what = data.random()
        if what < 0.15:
            del result[name]
        elif what < 0.3:
            result[data.choice(["tools", "stop", "n", "seed", "format", "x", "", "a\0", "messages", "é"])] = (
                data.choice(VALUES))
        else:
            result[name] = mutated(result[name], data)
        return result
    if isinstance(value, list) and value:
        result = list(value)
        place = data.randrange(len(result))
        if data.random() < 0.3:
            return result[:place] + result[place:place + 1] * data.choice([0, 2, 40]) + result[place + 1:]
        result[place] = mutated(result[place], data)
        return result
    if isinstance(value, str) and data.random() < 0.5:
        place = data.randrange(len(value) + 1)
        return value[:place] + data.choice([text for text in VALUES if isinstance(text, str)]) + value[place:]
    return data.choice(VALUES)


def damaged(text, data):
    """Bytes of which some are others."""
    text = bytearray(text)
    for _ in range(data.choice([1, 1, 2, 5, 20])):
        start = data.randrange(len(text) + 1)
        end = min(len(text), start + data.choice([1, 1, 3, 20]))
        what = data.randrange(5)
        if what == 0:
            text[start:end] = data.randbytes(end - start)
        elif what == 1:
            del text[start:end]
        elif what == 2:
            text[start:start] = data.choice(WORDS)
        elif what == 3:
            text[start:start] = text[start:end] * data.choice([1, 3, 30])
        elif start < len(text):
            text[start] ^= 1 << data.randrange(8)
    return bytes(text)


def one(data):
    """A request as bytes."""
    path, body = data.choice(REQUESTS)
    method, path = path.split(" ") if " " in path else ("POST", path)
    for _ in range(data.choice([0, 1, 1, 2, 4])):
        body = mutated(body, data)
    text = b"" if body is None else json.dumps(body, ensure_ascii=data.random() < 0.5).encode(errors="surrogatepass")
    if data.random() < 0.2:
        text = damaged(text, data)
    if data.random() < 0.05:
        method = data.choice(["PUT", "DELETE", "HEAD", "OPTIONS", "get", "BREW", "CONNECT", "TRACE"])
    if data.random() < 0.05:
        path = damaged(path.encode(), data).decode("latin-1").replace("\r", "").replace("\n", "")
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    if data.random() < 0.1:
        head.append(data.choice(["Expect: 100-continue", "Authorization: Bearer \xff", "X-Request-Id: a\tb",
                                 "Content-Type: text/plain", "Origin: null", "Accept: */*", "Connection: upgrade",
                                 "Upgrade: websocket", "Content-Encoding: gzip", "Host: b", "Connection: close"]))
    if data.random() < 0.15:
        size = data.choice([1, 7, 1000])
        parts = [text[at:at + size] for at in range(0, len(text), size)]
        text = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        head.append("Transfer-Encoding: chunked")
    else:
        head.append(f"Content-Length: {len(text) + (data.choice([-1, 1, 10**6]) if data.random() < 0.03 else 0)}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + text


def made(number):
    """What a connection sends."""
    data = random.Random(f"{SEED} {number}")
    text = b"".join(one(data) for _ in range(data.choice([1, 1, 1, 2, 5])))
    return damaged(text, data) if data.random() < 0.25 else text


LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def sent(server, number):
    """Sends the input of that number; returns what the server answers, None if the client does not wait for it."""
    data = random.Random(f"{SEED} {number} client")
    text = made(number)
    with server.connect(60) as connection:
        if data.random() < 0.1:
            # Leaves with a reset, at any place.
            connection.sendall(text[:data.randrange(len(text) + 1)])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return None
        ends = data.random() < 0.2
        if not ends:
            text += LAST
        try:
            if data.random() < 0.1:
                for at in range(0, len(text), 400):
                    connection.sendall(text[at:at + 400])
            else:
                connection.sendall(text)
            if ends:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # It has been closed, which is an answer.
        return read_all(connection)


def problem(server, number, statuses):
    """What is wrong with the answer to an input; None if nothing is. Counts the statuses."""
    try:
        answer = sent(server, number)
    except TimeoutError:
        return "neither an answer nor an end within 60 s"
    except ConnectionError:
        return None if server.process.poll() is None else "the server has ended"
    if server.process.poll() is not None:
        return "the server has ended"
    found = responses(answer or b"")
    statuses.update(found or ["none"])
    if any(code >= 500 for code in found):
        return f"the answer {answer[:600]!r}"
    return None


@case("requests that are mutated at random")
def _(program):
    models = [f"demo={ROOT}/Sources/DemoModel/demo.safetensors", f"vectors={ROOT}/Tests/Fixtures/embedding-qwen3"]
    with Server(program, *models, "--max-tokens", "8", "--threads", "2", "--timeout", "30", "--head-timeout",
                "2", "--body-timeout", "1", "--idle-timeout", "2", "--log-level", "error") as server:
        check(server.port, f"does not start: {server.log()[-2000:]}")
        numbers, faults, statuses = queue.SimpleQueue(), [], collections.Counter()
        for number in range(FIRST, FIRST + INPUTS):
            numbers.put(number)

        def client():
            while not faults:
                try:
                    number = numbers.get_nowait()
                except queue.Empty:
                    return
                fault = problem(server, number, statuses)
                if fault:
                    faults.append(f"seed {SEED}, input {number}, {made(number)[:1500]!r}: {fault}")

        threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log = server.log()
        check(not faults, f"{faults[0] if faults else ''}\n{log[-6000:]}")
        check("Sanitizer" not in log, log[-6000:])
        server.json("GET", "/health")
        server.json("POST", "/v1/completions", {"prompt": "Once", "max_tokens": 2})
        check(server.terminate(60) == 0, f"does not end with 0: {server.log()[-6000:]}")
        check("Sanitizer" not in server.log(), server.log()[-6000:])
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items(), key=str))
        print(f"  {INPUTS} inputs from {FIRST} on with seed {SEED}; answers by status: {counts}")
