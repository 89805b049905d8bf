#!/usr/bin/env python3
"""Measure loading, the first token, and prompt and decode speed of models, with the memory bandwidth before every run.

usage: measure.py MODEL [MODEL ...] [--bitnet .build/release/bitnet] [--rounds 3] [--prompt 128] [--decode 128]
                  [--json FILE]

A MODEL is anything that `bitnet generate --model` accepts. Rounds alternate between the models, because the speed of
shared machines changes from minute to minute. The medians are printed. Decode speed is also printed as a share of the
bound by bandwidth: the bytes per second that were read just before, divided by the bytes that a token reads (tiles and
output head). Every round also decodes next to a process that keeps one processor busy.
"""
import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys
import time


def printed(command):
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def run(command):
    return json.loads(printed(command))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--bitnet", default=".build/release/bitnet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=128, help="words of the prompt, about as many tokens")
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", help="write every round's figures here")
    arguments = parser.parse_args()

    def machine():
        names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
        return {"processor": names[0] if names else platform.processor(), "processors": len(names), "commit": commit}

    threads = ["--threads", str(arguments.threads)] if arguments.threads else []
    prompt = " ".join(["the"] * arguments.prompt)
    rounds = {model: [] for model in arguments.models}
    report = {}
    for _ in range(arguments.rounds):
        for model, results in rounds.items():
            lines = printed([arguments.bitnet, "bench", "model", "--model", model, "--device", "cpu", "--prompt",
                             "none", "--depth", "none", "--batch", "none", "--json"] + threads)
            facts = next(line for line in map(json.loads, lines.splitlines()) if line["kind"] == "machine")
            bandwidth = facts["memory_bytes_per_second"]
            read = facts["model"]["ternary_bytes"] + facts["model"]["head_bytes"]

            def generate(count):
                return run([arguments.bitnet, "generate", "--model", model, "--device", "cpu", "--prompt", prompt,
                            "--ignore-eos", "--sampling", "greedy", "--max-tokens", str(count), "--json", "--quiet"]
                           + threads)

            report = generate(arguments.decode)
            figures = report["statistics"]
            start = time.monotonic()
            run([arguments.bitnet, "generate", "--model", model, "--device", "cpu", "--prompt", "the",
                 "--max-tokens", "1", "--json", "--quiet"] + threads)
            first = time.monotonic() - start
            busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            try:
                beside = generate(arguments.decode)["statistics"]["generated_tokens_per_second"]
            finally:
                busy.kill()
                busy.wait()
            results.append({
                "bandwidth_gb_s": bandwidth / 1e9,
                "load_s": figures["load_seconds"], "peak_memory_mb": figures["peak_memory_bytes"] / 1e6,
                "process_start_to_first_token_s": first,
                "prompt_tokens": figures["prompt_tokens"], "prompt_tokens_s": figures["prompt_tokens_per_second"],
                "decode_tokens_s": figures["generated_tokens_per_second"],
                "read_per_token_mb": read / 1e6,
                "share_of_bandwidth": figures["generated_tokens_per_second"] * read / bandwidth,
                "decode_tokens_s_beside_a_busy_process": beside,
            })
    for model, results in rounds.items():
        print(model)
        for key in results[0]:
            values = [r[key] for r in results]
            print(f"  {key:20s} median {statistics.median(values):10.3f}   from {min(values):.3f} to {max(values):.3f}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            models = {pathlib.Path(model).name: results for model, results in rounds.items()}
            json.dump({"machine": machine(), "engine": report["engine"], "rounds": models}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
