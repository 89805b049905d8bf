"""Starts servers of the program under test, and talks to them over raw sockets."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

CASES = []


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def case(text):
    def add(function):
        CASES.append((text, function))
        return function
    return add


class Server:
    """A server of the demo model on a free port, which ends with the block."""

    def __init__(self, program, *arguments, variables={}, name=None):
        self.errors = tempfile.TemporaryFile("w+")
        sanitizers = {name: value for name, value in os.environ.items() if name in ("ASAN_OPTIONS", "LSAN_OPTIONS")}
        self.process = subprocess.Popen(
            [program, "serve", *([] if "--unix-socket" in arguments else ["--port", "0"]), *arguments],
            env={**sanitizers, "PATH": os.environ["PATH"], "HOME": tempfile.gettempdir(), **variables},
            stdout=subprocess.PIPE, stderr=self.errors, text=True)
        self.line = self.process.stdout.readline()
        found = re.search(r"listening on (https?)://(\[[^]]+\]|[^:]+):(\d+)", self.line)
        self.scheme, self.port = (found[1], int(found[3])) if found else (None, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def log(self):
        self.errors.seek(0)
        return self.errors.read()

    def terminate(self, seconds=20):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    # Requests

    def connect(self, timeout=20):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        return connection

    def raw(self, data, timeout=20):
        """What the server answers to bytes, until it closes the connection."""
        with self.connect(timeout) as connection:
            try:
                connection.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass
            return read_all(connection)

    def request(self, method, path, body=None, headers={}, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
            fields = {"Content-Type": "application/json"} if data is not None else {}
            connection.request(method, path, data, {**fields, **headers})
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, status=200, **options):
        found, _, data = self.request(method, path, body, **options)
        check(found == status, f"{method} {path} gives {found}: {data[:300]!r}")
        return json.loads(data)

    def memory(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1]) * 1024


def read_all(connection):
    data = b""
    while True:
        try:
            part = connection.recv(1 << 16)
        except ConnectionResetError:
            return data
        if not part:
            return data
        data += part


def post(path, body, *fields, version="1.1"):
    """A request as bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/{version}", "Host: localhost", "Content-Type: application/json",
             f"Content-Length: {len(data)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def status(answer):
    found = re.match(rb"HTTP/1\.[01] (\d+)", answer)
    return int(found[1]) if found else None


def responses(answer):
    """The status codes of all responses in the bytes of a connection. Bodies here never contain such a line."""
    return [int(code) for code in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


def wait(condition, text, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, text)
        time.sleep(0.05)
