#!/usr/bin/env python3
"""Measure embedding speed beside sentence-transformers, with the same texts and the same random model, in one run.

usage: measure.py MODEL FOLDER [--bitnet PROGRAM] [--threads 2] [--rounds 3] [--json FILE]

MODEL is FOLDER after `bitnet convert`; FOLDER comes from make_model.py. Rounds alternate between the programs, because
the speed of shared machines changes from minute to minute. Both are loaded once per round and embed the same texts of a
length; bitnet's time is that of the command less the time it takes for one short text. PyTorch runs a plain Qwen 3 of
the same shape, in float32 and in bfloat16. Needs torch and sentence-transformers.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LENGTHS = {16: 32, 128: 8, 512: 2}  # tokens of a text: texts


def texts(length, count):
    words = "the quick brown fox jumps over a lazy dog while rain falls on quiet hills "
    return [(f"{index:03d} " + words * (length // len(words) + 1))[:length - 1] for index in range(count)]


def seconds(action):
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


class Bitnet:
    def __init__(self, program, model, threads):
        self.command = [program, "embed", "--model", model, "--threads", str(threads), "--device", "cpu"]

    def run(self, lines):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(self.command + ["--output", f"{folder}/out.npy"], input="\n".join(lines) + "\n", text=True,
                           check=True)

    def measure(self, lines):
        start = seconds(lambda: self.run(lines[:1]))
        # One text of the batch is in the time that is taken off.
        return (seconds(lambda: self.run(lines)) - start) * len(lines) / (len(lines) - 1)


class SentenceTransformers:
    def __init__(self, folder, kind, threads):
        import torch
        from sentence_transformers import SentenceTransformer
        torch.set_num_threads(threads)
        self.model = SentenceTransformer(folder, device="cpu", model_kwargs={"torch_dtype": getattr(torch, kind)})

    def measure(self, lines):
        self.model.encode(lines[:1])
        return seconds(lambda: self.model.encode(lines, batch_size=len(lines), normalize_embeddings=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--bitnet", default=".build/release/bitnet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    programs = {
        "bitnet": lambda: Bitnet(arguments.bitnet, arguments.model, arguments.threads),
        "float32": lambda: SentenceTransformers(arguments.folder, "float32", arguments.threads),
        "bfloat16": lambda: SentenceTransformers(arguments.folder, "bfloat16", arguments.threads),
    }
    rounds = []
    for number in range(arguments.rounds):
        for name, make in programs.items():
            program = make()
            for length, count in LENGTHS.items():
                rate = length * count / program.measure(texts(length, count))
                rounds.append({"round": number + 1, "program": name, "tokens": length, "texts": count,
                               "tokens_per_second": round(rate, 1)})
                print(f"round {number + 1}  {name:9s} {count:3d} texts of {length:3d} tokens  {rate:8.1f} tokens/s",
                      flush=True)
            del program
    print("\nmedians, tokens/s")
    for length in LENGTHS:
        median = {name: statistics.median(r["tokens_per_second"] for r in rounds
                                          if r["program"] == name and r["tokens"] == length) for name in programs}
        ratios = ", ".join(f"{median['bitnet'] / median[name]:.2f} x {name}" for name in ("float32", "bfloat16"))
        print(f"{length:4d} tokens: bitnet {median['bitnet']:.1f}, torch float32 {median['float32']:.1f}, "
              f"bfloat16 {median['bfloat16']:.1f}; {ratios}")
    if arguments.json:
        import sentence_transformers
        import torch
        model = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        record = {"processor": model[0] if model else "unknown", "threads": arguments.threads,
                  "torch": torch.__version__, "sentence_transformers": sentence_transformers.__version__,
                  "python": sys.version.split()[0], "load": os.getloadavg()[0], "rounds": rounds}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
