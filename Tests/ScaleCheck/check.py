"""Checks the deployments of deploy/ with replicas of the program under test on loopback.

    check.py BITNET [--only TEXT]

Every replica gives the same text for a request, so every text that comes through a router, whatever happens to the
replicas meanwhile, has to be the text that a lone server gives.
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
sys.path.insert(0, str(ROOT / "Tests/ServeCheck"))
from harness import CASES, Failure, case, check  # noqa: E402

CLIENTS, REQUESTS = 24, 200


def free_port():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return other.getsockname()[1]


def wait(condition, text, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, text)
        time.sleep(0.05)


def answers(port, path="/ready"):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


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
    started = [Replica(program) for _ in range(count)]
    try:
        for replica in started:
            wait(lambda: answers(replica.port), "a replica does not start")
        yield started
    finally:
        for replica in started:
            if replica.process.poll() is None:
                replica.process.kill()
            replica.process.wait()


@contextlib.contextmanager
def router(command, port, path="/health", **variables):
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **variables})
        try:
            wait(lambda: answers(port, path), f"{command[0]} does not start", 40)
            yield process
        except Failure as failure:
            log.seek(0)
            raise Failure(f"{failure}\n{log.read()[-2000:]}") from failure
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


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


def load(port, lone, events):
    """Runs all requests, and at the given shares of them the events; returns the reasons of repetitions."""
    left = list(enumerate(range(REQUESTS)))[::-1]
    done, broken, faults = [0], [], []
    lock = threading.Lock()
    pending = sorted(events, key=lambda event: event[0])

    def client():
        while not faults:
            with lock:
                if not left:
                    return
                _, number = left.pop()
                event = pending.pop(0)[1] if pending and done[0] >= pending[0][0] * REQUESTS else None
            try:
                if event:
                    event()
                for _ in range(20):
                    try:
                        found = text(port, number)
                        break
                    except Broken as error:
                        broken.append(str(error))
                        time.sleep(0.1)
                else:
                    raise Failure(f"request {number} never succeeds: {broken[-1]}")
                check(found == lone[number], f"request {number} gives {found!r}; alone {lone[number]!r}")
                with lock:
                    done[0] += 1
            except Exception as error:
                faults.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not faults, faults[0] if faults else "")
    check(done[0] == REQUESTS and not pending, f"{done[0]} answers; events left: {len(pending)}")
    return broken


LONE = {}


def lone_texts(program):
    if not LONE:
        with replicas(program, 1) as [server]:
            for number in range(REQUESTS):
                LONE[number] = text(server.port, number)
    return LONE


def through(program, start):
    """Kills, drains and restarts replicas behind a router under load."""
    lone = lone_texts(program)
    with replicas(program) as servers, start(servers) as port:
        first, second, third = servers
        statuses = []

        def drain(server):
            statuses.append(server.stop(signal.SIGTERM))

        def restart(server):
            server.start()
            wait(lambda: answers(server.port), "a replica does not start again")

        broken = load(port, lone, [(0.3, lambda: drain(third)), (0.6, lambda: restart(third))])
        check(statuses == [0], f"a drained replica ends with {statuses}")
        check(not broken, f"a drain breaks {len(broken)} answers: {broken[:3]}")
        time.sleep(1.5)
        broken = load(port, lone, [(0.2, lambda: first.stop(signal.SIGKILL)), (0.5, lambda: restart(first)),
                                   (0.7, lambda: drain(second))])
        check(len(broken) <= 3 * CLIENTS, f"{len(broken)} answers were broken off")
        print(f"  {2 * REQUESTS} answers as alone; {len(broken)} asked for again when a replica was killed")


@case("HAProxy: replicas are killed, drained and restarted under load")
def _(program):
    @contextlib.contextmanager
    def start(servers):
        port, stats = free_port(), free_port()
        variables = {f"BITNET_{index}": f"127.0.0.1:{server.port}" for index, server in enumerate(servers, 1)}
        command = ["haproxy", "-db", "-f", str(DEPLOY / "haproxy/haproxy.cfg")]
        with router(command, port, BITNET_FRONT=f"127.0.0.1:{port}", BITNET_STATS=f"127.0.0.1:{stats}", **variables):
            yield port
    through(program, start)


@case("nginx: replicas are killed, drained and restarted under load")
def _(program):
    @contextlib.contextmanager
    def start(servers):
        port = free_port()
        with tempfile.TemporaryDirectory() as folder:
            settings = (DEPLOY / "nginx/nginx.conf").read_text()
            for place, server in zip(("9931", "9932", "9933"), servers):
                settings = settings.replace(f"127.0.0.1:{place}", f"127.0.0.1:{server.port}")
            settings = settings.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
            pathlib.Path(folder, "nginx.conf").write_text(settings)
            command = ["nginx", "-p", folder, "-c", "nginx.conf", "-e", "errors.log",
                       "-g", f"daemon off; pid {folder}/pid;"]
            with router(command, port):
                yield port
    through(program, start)


@case("vllm-router: replicas are killed, drained and restarted under load")
def _(program):
    @contextlib.contextmanager
    def start(servers):
        port = free_port()
        command = [str(DEPLOY / "vllm-router/start"), str(port),
                   *(f"http://127.0.0.1:{server.port}" for server in servers)]
        folder = str(pathlib.Path(sys.executable).parent)
        with router(command, port, PATH=folder + os.pathsep + os.environ["PATH"]):
            yield port
    through(program, start)


@case("Prometheus: rules are right, and gauges move as the load does")
def _(program):
    rules = subprocess.run(["promtool", "test", "rules", "rules.test.yml"], cwd=DEPLOY / "prometheus",
                           capture_output=True, text=True)
    check(rules.returncode == 0, rules.stdout + rules.stderr)
    with replicas(program, 1) as [server], tempfile.TemporaryDirectory() as folder:
        text(server.port, 1)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics").read()
        lint = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True)
        # vLLM's names have colons, which the linter would keep for rules.
        faults = [line for line in lint.stderr.decode().splitlines() if "should not contain ':'" not in line]
        check(not faults, "\n".join(faults))
        for name in ("prometheus.yml", "rules.yml"):
            settings = (DEPLOY / "prometheus" / name).read_text()
            settings = settings.replace("127.0.0.1:9931", f"127.0.0.1:{server.port}").replace("5s", "1s")
            pathlib.Path(folder, name).write_text(settings)
        port = free_port()
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                   f"--web.listen-address=127.0.0.1:{port}"]

        def value(query):
            url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
            found = json.load(urllib.request.urlopen(url))["data"]["result"]
            return float(found[0]["value"][1]) if found else None

        with router(command, port, "/-/ready"):
            wait(lambda: value("up") == 1, "is not scraped")
            before = value("vllm:generation_tokens_total")
            threads = [threading.Thread(target=text, args=(server.port, number)) for number in range(40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wait(lambda: (value("vllm:generation_tokens_total") or 0) > (before or 0), "counts no tokens")
            wait(lambda: value("vllm:num_requests_running") == 0, "shows running requests for ever")


@case("settings for Kubernetes and systemd are valid")
def _(program):
    import kubernetes_validate
    import yaml
    kinds = []
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            kinds.append(document["kind"])
            if document["apiVersion"].split("/")[0] in ("apps", "v1", "policy"):
                kubernetes_validate.validate(document, "1.37", strict=True)
    check(kinds == ["Deployment", "Service", "PodDisruptionBudget", "InferencePool", "HTTPRoute", "PodMonitor"],
          f"has {kinds}")
    if shutil.which("systemd-analyze"):
        with tempfile.TemporaryDirectory() as folder:
            unit = (DEPLOY / "systemd/bitnet.service").read_text().replace("/usr/local/bin/bitnet", program)
            path = pathlib.Path(folder, "bitnet.service")
            path.write_text(unit)
            found = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True)
            check(found.returncode == 0, found.stderr)


@case("batch: killed three times and resumed, the answers are those of a run that was not")
def _(program):
    with tempfile.TemporaryDirectory() as folder:
        lines = pathlib.Path(folder, "in.jsonl")
        lines.write_text("".join(json.dumps({"prompt": body(n)["prompt"], "id": n}) + "\n" for n in range(2000)))

        def run(output, limit=None, *options):
            command = [program, "generate", "--jsonl", str(lines), "--output", str(output), "--max-tokens", "20",
                       "--quiet", *options]
            try:
                check(subprocess.run(command, timeout=limit).returncode == 0, "fails")
            except subprocess.TimeoutExpired:
                pass

        whole, killed = pathlib.Path(folder, "whole"), pathlib.Path(folder, "killed")
        start = time.monotonic()
        run(whole)
        seconds = time.monotonic() - start
        for _ in range(3):
            run(killed, seconds / 4)
        run(killed)
        check(whole.read_bytes() == killed.read_bytes(), "a resumed run gives other answers")


@case("Ray Data: a killed process loses nothing, and the answers are those of one machine")
def _(program):
    with tempfile.TemporaryDirectory() as folder:
        lines, lone, spread = (pathlib.Path(folder, name) for name in ("in", "lone", "spread"))
        lines.write_text("".join(json.dumps({"prompt": body(n)["prompt"], "id": n}) + "\n" for n in range(500)))
        options = ["--max-tokens", "60", "--threads", "1"]
        subprocess.run([program, "generate", "--jsonl", str(lines), "--output", str(lone), "--quiet", *options],
                       check=True)
        job = subprocess.Popen(
            [sys.executable, str(DEPLOY / "ray/batch.py"), str(lines), str(spread), "--workers", "2", "--bitnet",
             program, "--", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        killed = []

        def kill():
            while job.poll() is None and not killed:
                for entry in pathlib.Path("/proc").iterdir():
                    with contextlib.suppress(OSError):
                        command = (entry / "cmdline").read_bytes().split(b"\0")
                        if command[:3] == [program.encode(), b"generate", b"--jsonl"]:
                            time.sleep(0.3)
                            os.kill(int(entry.name), signal.SIGKILL)
                            killed.append(entry.name)
                            return
                time.sleep(0.02)

        killer = threading.Thread(target=kill)
        killer.start()
        output, _ = job.communicate(timeout=180)
        killer.join()
        check(job.returncode == 0 and killed, output[-2000:])
        check(lone.read_bytes() == spread.read_bytes(), "gives other answers")


@case("Ray Serve: OpenAI's client, streaming and not")
def _(program):
    import openai
    port = free_port()
    folder = str(pathlib.Path(sys.executable).parent)
    code = ("import ray, time; from ray import serve; ray.init(num_cpus=4, include_dashboard=False); "
            f"serve.start(http_options={{'host': '127.0.0.1', 'port': {port}}}); "
            "import serve_app; serve.run(serve_app.app); time.sleep(600)")
    variables = {"BITNET": program, "BITNET_REPLICAS": "2", "BITNET_OPTIONS": "--threads 1",
                 "PATH": folder + os.pathsep + os.environ["PATH"], "PYTHONPATH": str(DEPLOY / "ray")}
    lone = lone_texts(program)
    with router([sys.executable, "-c", code], port, **variables):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        check([model.id for model in client.models.list()] == ["demo"], "lists other models")
        for number in range(10):
            options = body(number)
            check(text(port, number) == lone[number], f"request {number} gives another text")
            answer = client.completions.create(**{**options, "stream": False})
            check(answer.choices[0].text == lone[number], f"request {number}, whole, gives another text")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bitnet")
    parser.add_argument("--only", default="", help="run the cases whose names have this text")
    arguments = parser.parse_args()
    program = str(pathlib.Path(arguments.bitnet).resolve())
    failures = passed = 0
    for name, function in CASES:
        if arguments.only not in name:
            continue
        start = time.monotonic()
        try:
            function(program)
            passed += 1
            print(f"passed: {name}, {time.monotonic() - start:.1f} s", flush=True)
        except Exception as error:
            failures += 1
            print(f"failed: {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{passed} passed, {failures} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
