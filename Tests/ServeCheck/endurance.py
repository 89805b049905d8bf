"""Many requests, one after another in some clients: memory stays flat, and nothing is left behind."""
import os
import random
import re
import statistics
import threading
import time

import load
from harness import Server, case, check, post, wait

REQUESTS = 4000
CLIENTS = 8
# Keys and values of earlier prompts fill the cache's memory, which is small here, before the rest has to be flat. One
# arena of the allocator instead of several shows it sooner.
CACHE, VARIABLES = "8Mi", {"MALLOC_ARENA_MAX": "1"}
# Memory grows for some ten thousand requests, less and less, as more of them than before are there at the same moment.
# A leak of 4 kB a request, such as its prompt's keys and values or its buffers, would show between the middle of the
# requests and their end.
FLAT, LIMIT = 4096, 128 << 20
GAUGES = ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"]


def gauges(server):
    _, _, text = server.request("GET", "/metrics")
    found = dict(re.findall(r"^(vllm:\w+)\{[^}]*\} (\S+)$", text.decode(), re.MULTILINE))
    return [float(found[f"vllm:{name}"]) for name in GAUGES]


def files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def threads(server):
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


def ask(server, number):
    """One request: mostly a stream to its end, often one that is left, sometimes a whole answer or a wrong request."""
    data = random.Random(number)
    kind = data.random()
    body = {**load.body(number), "max_tokens": data.randint(1, 12)}
    if kind < 0.5:
        status, _, _ = server.request("POST", "/v1/chat/completions", body)
        check(status == 200, f"gives {status}")
    elif kind < 0.7:
        with server.connect() as connection:
            connection.sendall(post("/v1/chat/completions", {**body, "max_tokens": 200}))
            if data.random() < 0.8:
                connection.recv(data.choice([1, 100, 5000]))
    elif kind < 0.85:
        server.json("POST", "/v1/completions", {"prompt": ["A", f"The {number}"], "max_tokens": 4, "n": 2,
                                                "logprobs": 2, "echo": True})
    elif kind < 0.95:
        server.json("POST", "/v1/chat/completions", {**body, "temperature": -1}, status=400)
    else:
        server.json("POST", "/tokenize", {"prompt": f"The king {number}"})


@case("requests in thousands: memory is flat, and nothing is left behind")
def _(program):
    with Server(program, "--cache-size", CACHE, variables=VARIABLES) as server:
        for number in range(20):
            ask(server, number)
        wait(lambda: gauges(server) == [0, 0, 0], f"has the gauges {gauges(server)}")
        open_files, running_threads = files(server), threads(server)
        left, lock, problems, memory = iter(range(20, 20 + REQUESTS)), threading.Lock(), [], {0: server.memory()}
        done = [0]
        marks = [max(1, REQUESTS * tenths // 10) for tenths in range(1, 11)]

        def client():
            while not problems:
                with lock:
                    number = next(left, None)
                if number is None:
                    return
                try:
                    ask(server, number)
                except Exception as error:
                    problems.append(f"request {number}: {type(error).__name__}: {error}")
                with lock:
                    done[0] += 1
                    if done[0] in marks:
                        memory[done[0]] = server.memory()

        start = time.monotonic()
        clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        seconds = time.monotonic() - start
        check(not problems, problems[0] if problems else "")
        wait(lambda: gauges(server) == [0, 0, 0], "keeps running generations")
        wait(lambda: files(server) <= open_files, f"had {open_files} open files, and keeps more")
        wait(lambda: threads(server) <= running_threads + 8, f"had {running_threads} threads, and keeps more")
        figures = ", ".join(f"{count:,}: {size / 2**20:.1f} MiB" for count, size in sorted(memory.items()))
        print(f"  {REQUESTS:,} requests in {seconds:.0f} s; resident after {figures}")
        sizes = [memory[mark] for mark in marks]
        # From the fifth tenth to the ninth, each with its neighbours.
        growth = (statistics.median(sizes[7:10]) - statistics.median(sizes[3:6])) / (marks[8] - marks[4])
        check(growth < FLAT, f"grows by {growth:.0f} bytes a request: {figures}")
        check(sizes[-1] < LIMIT, f"takes {sizes[-1] / 2**20:.1f} MiB: {figures}")
        check(server.terminate() == 0, "does not end with 0")
