#!/usr/bin/env python3
"""Drive `bitnet serve` with clients that are official, careless or hostile.

    Tests/ServeCheck/check.py .build-hub/release/bitnet [--only TEXT] [--seconds N] [--requests N] [--inputs N]

The program must be built with the trait Server. If the package openai is installed, it drives what it knows, and its
types are validated; if lm_eval is, it runs tasks that were made for this check.
"""
import argparse
import pathlib
import sys
import time

import clients  # adds its cases
import endurance
import fuzz
import evaluation  # noqa: F401
import hostile
import load
import operation
import tools
from harness import CASES, Failure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--only", default="", help="run the cases whose name has this text")
    parser.add_argument("--seconds", type=float, default=20, help="how long the load lasts")
    parser.add_argument("--requests", type=int, default=endurance.REQUESTS,
                        help="how many requests memory is flat over")
    parser.add_argument("--inputs", type=int, default=fuzz.INPUTS, help="how many mutated requests there are")
    parser.add_argument("--first", type=int, default=0, help="the number of the first of them")
    parser.add_argument("--seed", type=int, default=0, help="what they are made from")
    arguments = parser.parse_args()
    load.SECONDS, endurance.REQUESTS = arguments.seconds, arguments.requests
    fuzz.INPUTS, fuzz.FIRST, fuzz.SEED = arguments.inputs, arguments.first, arguments.seed
    program = str(pathlib.Path(arguments.program).resolve())
    failures = 0
    cases = [found for found in CASES if arguments.only in found[0]]
    for text, function in cases:
        start = time.monotonic()
        try:
            function(program)
            problem = None
        except Failure as failure:
            problem = str(failure)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        failures += problem is not None
        print(f"{'failed' if problem else 'passed'}: {text}, {time.monotonic() - start:.1f} s"
              + (f": {problem}" if problem else ""), flush=True)
    print(f"{len(cases) - failures} passed, {failures} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
