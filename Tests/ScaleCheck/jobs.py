"""Batches that are killed, and Ray with replicas of the program."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

from replicas import DEPLOY, beside, body, case, check, free_port, lone_texts, process, text

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
