"""Batches that are killed, and Ray with replicas of the program."""
import contextlib
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

from replicas import DEPLOY, beside, body, case, check, free_port, lone_texts, process, replicas, text

# Ray tells its makers how it is used otherwise.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@case("batch: killed three times and resumed, the answers are those of a run that was not")
def _(program):
    with tempfile.TemporaryDirectory() as folder:
        lines = pathlib.Path(folder, "in.jsonl")
        lines.write_text("".join(json.dumps({"prompt": body(n)["prompt"], "id": n}) + "\n" for n in range(2000)))

        def command(output):
            return [program, "generate", "--jsonl", str(lines), "--output", str(output), "--max-tokens", "20",
                    "--quiet"]

        def finish(output):
            check(subprocess.run(command(output), timeout=120).returncode == 0, "fails")

        whole, killed = pathlib.Path(folder, "whole"), pathlib.Path(folder, "killed")
        finish(whole)
        size = whole.stat().st_size
        for quarter in (1, 2, 3):
            with subprocess.Popen(command(killed)) as running:
                try:
                    while not killed.exists() or killed.stat().st_size < size * quarter / 4:
                        check(running.poll() is None, "ends before it is killed")
                        time.sleep(0.002)
                finally:
                    running.kill()
            check(killed.stat().st_size < size, "is killed too late")
        finish(killed)
        check(whole.read_bytes() == killed.read_bytes(), "a resumed run gives other answers")


@case("batch: a run that goes on tells of the errors of the one before")
def _(program):
    with tempfile.TemporaryDirectory() as folder:
        lines, answers = pathlib.Path(folder, "in"), pathlib.Path(folder, "out")
        command = [program, "generate", "--jsonl", str(lines), "--output", str(answers), "--max-tokens", "2"]
        refused = {"custom_id": "a", "url": "/v1/completions", "body": {"prompt": "a", "temperature": -1}}
        for wrong in ({"prompt": 1}, refused, refused | {"url": "/"}):
            answers.unlink(missing_ok=True)
            lines.write_text(json.dumps(wrong) + '\n{"prompt": "a"}\n')
            for written in (True, False):
                before = answers.read_bytes() if answers.exists() else None
                result = subprocess.run(command, timeout=60, capture_output=True, text=True)
                check(result.returncode == 1, f"hides that {wrong} was refused: {result.stderr}")
                check((answers.read_bytes() != before) == written, f"writes again after {wrong}")
            check("2 answers already, 1 of them with an error;" in result.stderr, result.stderr)
            answers.write_bytes(answers.read_bytes().splitlines(True)[0])
            check(subprocess.run(command, timeout=60, capture_output=True).returncode == 1, "hides it beside a new line")
        lines.write_text('{"prompt": "a"}\n')
        answers.unlink()
        check(all(subprocess.run(command, timeout=60, capture_output=True).returncode == 0 for _ in range(2)), "fails")


def request(number):
    """A line of OpenAI's batch files; some of them are refused."""
    url = ("/v1/completions", "/v1/chat/completions")[number % 2]
    fields = {name: value for name, value in body(number).items() if name not in ("stream", "prompt")}
    prompt = body(number)["prompt"]
    fields |= {"messages": [{"role": "user", "content": prompt}]} if number % 2 else {"prompt": prompt}
    fields |= [{}, {"n": 2}, {"stop": ["e"]}, {"logprobs": True if number % 2 else 2}, {"temperature": 1e3},
               {"model": "none"}][number % 6]
    return {"custom_id": f"request {number}", "method": "POST", "url": url, "body": fields}


@case("batch of requests: OpenAI's form, and the answers of the server")
def _(program):
    from openai.types import Completion
    from openai.types.chat import ChatCompletion

    def lasting(answer):
        """What does not depend on the time and on other requests."""
        for name in ("id", "created", "timings"):
            answer.pop(name, None)
        answer.get("usage", {}).pop("prompt_tokens_details", None)
        return answer

    requests = [request(number) for number in range(120)]
    with tempfile.TemporaryDirectory() as folder, replicas(program, 1) as [server]:
        lines, answers = pathlib.Path(folder, "in"), pathlib.Path(folder, "out")
        lines.write_text("".join(json.dumps(line) + "\n" for line in requests))
        command = [program, "generate", "--jsonl", str(lines), "--output", str(answers), "--quiet"]
        # Lines that are refused are answers too, which the status tells.
        check(subprocess.run(command, timeout=120).returncode == 1, "hides that lines are refused")
        found = [json.loads(line) for line in answers.read_text().splitlines()]
        check([line["custom_id"] for line in found] == [line["custom_id"] for line in requests], "has other lines")
        for line, answer in zip(requests, found):
            response = answer["response"]
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            connection.request("POST", line["url"], json.dumps(line["body"]), {"Content-Type": "application/json"})
            lone = connection.getresponse()
            expected = json.loads(lone.read())
            connection.close()
            check(answer["error"] is None and response["status_code"] == lone.status, f"{line} gives {answer}")
            if lone.status == 200:
                kind = ChatCompletion if "chat" in line["url"] else Completion
                kind.model_validate(response["body"], strict=True)
            check(lasting(response["body"]) == lasting(expected), f"{line} gives {answer}; the server {expected}")
        statuses = {answer["response"]["status_code"] for answer in found}
        check(statuses == {200, 400, 404}, f"has the statuses {statuses}")


@case("Ray Data: a killed process loses nothing, and the answers are those of one machine")
def _(program):
    with tempfile.TemporaryDirectory() as folder:
        lines, lone, spread = (pathlib.Path(folder, name) for name in ("in", "lone", "spread"))
        lines.write_text("".join(json.dumps({"prompt": body(n)["prompt"], "id": n}) + "\n" for n in range(500)))
        options = ["--max-tokens", "60", "--threads", "1"]
        subprocess.run([program, "generate", "--jsonl", str(lines), "--output", str(lone), "--quiet", *options],
                       check=True, timeout=120)
        command = [sys.executable, str(DEPLOY / "ray/batch.py"), str(lines), str(spread), "--workers", "2",
                   "--bitnet", program, "--", *options]
        killed = []

        def kill(job):
            while job.poll() is None:
                for entry in pathlib.Path("/proc").iterdir():
                    with contextlib.suppress(OSError):
                        found = (entry / "cmdline").read_bytes().split(b"\0")
                        if found[:3] == [program.encode(), b"generate", b"--jsonl"]:
                            time.sleep(0.3)
                            os.kill(int(entry.name), signal.SIGKILL)
                            killed.append(entry.name)
                            return
                time.sleep(0.02)

        with process(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as job:
            threading.Thread(target=kill, args=(job,), daemon=True).start()
            output, _ = job.communicate(timeout=180)
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
    with beside([sys.executable, "-c", code], port, **variables):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=60)
        check([model.id for model in client.models.list()] == ["demo"], "lists other models")
        for number in range(10):
            options = body(number)
            check(text(port, number) == lone[number], f"request {number} gives another text")
            answer = client.completions.create(**{**options, "stream": False})
            check(answer.choices[0].text == lone[number], f"request {number}, whole, gives another text")
