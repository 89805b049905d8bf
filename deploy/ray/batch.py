"""Generates answers to a file of prompts on all nodes of a Ray cluster.

    pip install "ray[data]==2.60.0"
    python batch.py prompts.jsonl answers --workers 4 -- --model 2b.safetensors --max-tokens 200

Each line of the input is a JSON object as `bitnet generate --jsonl` takes it. Each worker owns one `bitnet` process and
feeds it batches; what follows `--` goes to its command line. Every replica gives the same text for a line, bit for bit,
so a worker that dies loses nothing: Ray runs its batch again on another one.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import threading

import ray


def numbered(line: str, number: int) -> str:
    """The line with its number in the whole input, which the process cannot know."""
    try:
        value = json.loads(line)
    except ValueError:
        return line
    return json.dumps({**value, "line": int(number)}, ensure_ascii=False) if isinstance(value, dict) else line


class Generator:
    """Owns one process of `bitnet generate --jsonl`."""

    def __init__(self, command: list[str]):
        self.command = command
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, batch: dict) -> dict:
        numbers = [int(number) for number in batch["number"]]
        lines = [numbered(line, number).encode() + b"\n" for line, number in zip(batch["line"], numbers)]
        for attempt in range(3):
            if self.process is None:
                self.start()
            answers = self.exchange(lines)
            if len(answers) == len(lines):
                break
            # The process ended; another one gives the same answers.
            self.process.kill()
            status = self.process.wait()
            self.process = None
        else:
            raise RuntimeError(f"bitnet ended with status {status} after {len(answers)} of {len(lines)} answers")
        # A line that is no JSON has no number of its own.
        answers = [
            re.sub(r'^\{"line":\d+', f'{{"line":{number}', answer) for answer, number in zip(answers, numbers)
        ]
        return {"number": batch["number"], "answer": answers}

    def exchange(self, lines: list[bytes]) -> list[str]:
        """The answers that the process gives before it ends, one for each line at most."""

        # The process answers while it reads, so a thread writes: neither pipe may fill up.
        def write():
            try:
                self.process.stdin.writelines(lines)
                self.process.stdin.flush()
            except BrokenPipeError:
                pass  # The missing answers say it.

        writer = threading.Thread(target=write)
        writer.start()
        answers = []
        for _ in lines:
            answer = self.process.stdout.readline()
            if not answer.endswith(b"\n"):
                break
            answers.append(answer.decode().rstrip("\n"))
        writer.join()
        return answers


def answer(lines: list[str], command: list[str], workers: int, batch_size: int, cpus: float) -> list[str]:
    """The answers to the lines, in their order."""
    rows = [{"number": number, "line": line} for number, line in enumerate(lines, 1) if line.strip()]
    dataset = ray.data.from_items(rows, override_num_blocks=max(1, len(rows) // batch_size))
    dataset = dataset.map_batches(
        Generator,
        fn_constructor_args=(command,),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=cpus,
        max_restarts=-1,
        max_task_retries=-1,
    )
    results = sorted(dataset.take_all(), key=lambda row: row["number"])
    return [row["answer"] for row in results]


def main():
    options = sys.argv[1:]
    split = options.index("--") if "--" in options else len(options)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", help="a file of JSON lines")
    parser.add_argument("output", help="the file of answers, a line each, in the order of the input")
    parser.add_argument("--workers", type=int, default=1, help="processes of bitnet in the cluster")
    parser.add_argument("--cpus", type=float, default=1, help="processors of each")
    parser.add_argument("--batch-size", type=int, default=64, help="lines that a worker takes at a time")
    parser.add_argument("--bitnet", default="bitnet", help="the command on every node")
    arguments = parser.parse_args(options[:split])

    with open(arguments.input, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    command = [arguments.bitnet, "generate", "--jsonl", "-", *options[split + 1 :]]
    answers = answer(lines, command, arguments.workers, arguments.batch_size, arguments.cpus)
    partial = arguments.output + ".partial"
    with open(partial, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in answers)
    os.replace(partial, arguments.output)


if __name__ == "__main__":
    main()
