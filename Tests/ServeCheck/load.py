"""Many clients at once: each gets the answer that it gets alone."""
import http.client
import json
import random
import threading
import time

from harness import Server, case, check



def body(number):
    data = random.Random(number)
    words = "king queen forest dragon gold night river old young tower".split()
    prompt = "Once there was a " + " ".join(data.choice(words) for _ in range(data.randint(1, 60)))
    return {"messages": [{"role": "user", "content": prompt}], "seed": number, "temperature": data.choice([0, 0.7, 1]),
            "max_tokens": data.randint(1, 60), "stream": True, **data.choice([{}, {"top_k": 20}, {"top_p": 0.9}])}


def text(server, number, leave=None):
    """The text of an answer; what there is of it when the client leaves after so many chunks."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body(number)),
                           {"Content-Type": "application/json"})
        response = connection.getresponse()
        check(response.status == 200, f"gives {response.status}")
        result, chunks = "", 0
        for line in response:
            if not line.startswith(b"data: {"):
                if line.startswith(b"data: [DONE]"):
                    return result
                continue
            result += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
            chunks += 1
            if chunks == leave:
                return result
        check(False, "ends a stream without [DONE]")
    finally:
        connection.close()


def load(program, arguments, clients, seconds):
    """Some clients leave; each of the other answers is the same as that of a lone server to a lone client."""
    numbers = range(40)
    with Server(program) as server:
        alone = {number: text(server, number) for number in numbers}
    with Server(program, *arguments) as server:
        for number in numbers:
            check(text(server, number) == alone[number], f"answers request {number} in another way")
        before = server.memory()
        end = time.monotonic() + seconds
        problems, count = [], [0]

        def client(number):
            data = random.Random(number)
            while time.monotonic() < end and not problems:
                which = data.choice(numbers)
                leave = data.randint(1, 30) if data.random() < 0.3 else None
                try:
                    found = text(server, which, leave)
                    if leave is None and found != alone[which] or not alone[which].startswith(found):
                        problems.append(f"request {which} gives {found!r}; alone {alone[which]!r}")
                    count[0] += 1
                except Exception as error:
                    problems.append(f"{type(error).__name__}: {error}")

        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        check(not problems, problems[0] if problems else "")
        grown = server.memory() - before
        check(grown < 100 << 20, f"grows by {grown >> 20} MiB over {count[0]} requests")
        check(server.terminate() == 0, "does not end with 0")
        print(f"  {count[0]} requests, {grown >> 20} MiB more memory")


@case("64 clients, some of whom leave: each answer is the same as alone")
def _(program):
    load(program, [], 64, 20)


@case("two replicas of a model in one server: each answer is the same as alone")
def _(program):
    load(program, ["--device", "cpu,cpu", "--threads", "1"], 16, 6)
