"""Ports, keys, certificates, signals: what operators do to a server."""
import json
import pathlib
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from harness import Server, case, check, post, read_all, responses, status

CHAT = {"messages": [{"role": "user", "content": "Once"}], "max_tokens": 4, "seed": 1}


@case("SIGTERM: running answers finish, idle connections close, the status is 0")
def _(program):
    with Server(program) as server:
        idle = server.connect()
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        check(status(idle.recv(4096)) == 200, "is not healthy")
        busy = server.connect()
        busy.sendall(post("/v1/completions", {"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True}))
        first = busy.recv(4096)
        check(status(first) == 200, f"answers {first[:80]!r}")
        server.process.send_signal(signal.SIGTERM)
        idle.settimeout(5)
        check(idle.recv(1) == b"", "keeps an idle connection")
        rest = read_all(busy)
        check(b"data: [DONE]" in rest, f"cuts the answer off: {rest[-100:]!r}")
        check(server.process.wait(10) == 0, f"ends with {server.process.returncode}")
        idle.close()
        busy.close()
    with Server(program) as server:
        check(server.terminate() == 0, "does not end with 0")


@case("a port in use, a port out of range, models that are missing")
def _(program):
    def fails(*arguments):
        result = subprocess.run([program, "serve", *arguments], capture_output=True, text=True, timeout=60)
        check(result.returncode != 0, f"takes {arguments}")
        return result.stderr.strip()

    with Server(program) as server:
        errors = fails("--port", str(server.port))
        check("in use" in errors.lower() and errors.count("\n") < 2, f"says {errors}")
    check("65535" in fails("--port", "65536"), "takes a port out of range")
    check("missing.safetensors" in fails("--port", "0", "missing.safetensors"), "says nothing of the file")
