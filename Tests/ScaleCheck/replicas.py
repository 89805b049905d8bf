"""Replicas of the program under test on loopback, programs beside them, and clients whose texts are compared."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(ROOT / "Tests/ServeCheck"))
from harness import CASES, Failure, case, check, wait  # noqa: E402, F401

CLIENTS, REQUESTS = 24, 200
# How long a client asks again for an answer that was broken off.
PATIENCE = 15


def free_port():
    """A free port outside the range of clients' own, so that it stays free while its server is away."""
    range_file = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(range_file.read_text().split()[0]) if range_file.exists() else 49152
    while True:
        with contextlib.suppress(OSError), socket.socket() as other:
            other.bind(("127.0.0.1", random.randint(first // 2, first - 1)))
            return other.getsockname()[1]


def answers(port, path="/ready"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def process(command, **options):
    """A process, which is ended with all that it has started."""
    running = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


class Replica:
    """A server of the demo model on a port that it keeps when it starts again."""

    def __init__(self, program):
        self.program = program
        self.port = free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "serve", "--port", str(self.port), "--threads", "1"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)

    def stop(self, number):
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def replicas(program, count=3):
    started = []
    try:
        for _ in range(count):
            started.append(Replica(program))
        for replica in started:
            wait(lambda: answers(replica.port), "a replica does not start", 20)
        yield started
    finally:
        for replica in started:
            if replica.process.poll() is None:
                replica.process.kill()
            replica.process.wait()


@contextlib.contextmanager
def beside(command, port, path="/health", **variables):
    """A program, such as a router, that answers at a port."""
    with tempfile.TemporaryFile("w+") as log:
        try:
            with process(command, stdout=log, stderr=log, env={**os.environ, **variables}) as running:
                wait(lambda: answers(port, path) or running.poll() is not None, f"{command[0]} does not start", 60)
                check(running.poll() is None, f"{command[0]} ends with {running.returncode}")
                yield running
        except Failure as failure:
            log.seek(0)
            raise Failure(f"{failure}\n{log.read()[-2000:]}") from failure


def body(number):
    data = random.Random(number)
    start = "Once upon a time there was a " + data.choice(["king", "queen", "fox", "miller's daughter"])
    return {"model": "demo", "prompt": start + f" who had {number % 50} ", "max_tokens": data.randint(20, 120),
            "seed": number % 50, "temperature": 0.8, "stream": True}


class Broken(Exception):
    pass


def text(port, number):
    """The text of a streamed answer.

    Raises Broken when the answer ends early, or there is none: what a client may ask for again.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v1/completions", json.dumps(body(number)),
                           {"Content-Type": "application/json", "X-Session-ID": f"s{number % 20}"})
        response = connection.getresponse()
        if response.status in (429, 500, 502, 503, 504):
            raise Broken(f"status {response.status}")
        check(response.status == 200, f"status {response.status}")
        result = ""
        for line in response:
            if line.startswith(b"data: [DONE]"):
                return result
            if line.startswith(b"data: {"):
                result += json.loads(line[6:])["choices"][0]["text"]
        raise Broken("an answer without an end")
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()


def persistent_text(port, number, broken):
    """As `text`, asking again for a while; adds the reasons to a list."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return text(port, number)
        except Broken as error:
            broken.append(str(error))
            check(time.monotonic() < end, f"request {number} never succeeds: {error}")
            time.sleep(0.1)


def in_threads(count, function):
    """Runs the function in threads until all end; raises what the first of them raised."""
    faults = []

    def guarded():
        try:
            function(faults)
        except Exception as error:
            faults.append(error)

    # A case that is out of time leaves its threads behind.
    threads = [threading.Thread(target=guarded, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def load(port, lone, events):
    """Runs all requests, and at the given shares of them the events; returns the reasons of repetitions."""
    left = list(range(REQUESTS))[::-1]
    done, broken = [0], []
    lock = threading.Lock()
    pending = sorted(events, key=lambda event: event[0])

    def client(faults):
        while not faults:
            with lock:
                if not left:
                    return
                number = left.pop()
                event = pending.pop(0)[1] if pending and done[0] >= pending[0][0] * REQUESTS else None
            if event:
                event()
            found = persistent_text(port, number, broken)
            check(found == lone[number], f"request {number} gives {found!r}; alone {lone[number]!r}")
            with lock:
                done[0] += 1

    in_threads(CLIENTS, client)
    check(done[0] == REQUESTS and not pending, f"{done[0]} answers; events left: {len(pending)}")
    return broken


LONE = {}


def lone_texts(program):
    """What a lone server answers to each request."""
    if not LONE:
        with replicas(program, 1) as [server]:
            texts = {number: text(server.port, number) for number in range(REQUESTS)}
        LONE.update(texts)
    return LONE
