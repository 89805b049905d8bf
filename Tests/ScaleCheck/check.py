"""Checks the deployments of deploy/ with replicas of the program under test on loopback.

    check.py BITNET [--only TEXT]

Every replica gives the same text for a request, so every text that comes through a router, whatever happens to the
replicas meanwhile, has to be the text that a lone server gives. Each case has a limit of time, and ends what it started
also when it fails.
"""
import argparse
import pathlib
import signal
import sys
import time

import routers  # adds its cases
import settings
import jobs
import container
from replicas import CASES, Failure

# Seconds of a case.
LIMIT = 240


def end(number, _):
    raise Failure(f"takes more than {LIMIT} s") if number == signal.SIGALRM else SystemExit(128 + number)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bitnet")
    parser.add_argument("--only", default="", help="run the cases whose names have this text")
    arguments = parser.parse_args()
    program = str(pathlib.Path(arguments.bitnet).resolve())
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    failures = passed = 0
    for name, function in CASES:
        if arguments.only not in name:
            continue
        start = time.monotonic()
        signal.alarm(LIMIT)
        try:
            function(program)
            passed += 1
            print(f"passed: {name}, {time.monotonic() - start:.1f} s", flush=True)
        except Exception as error:
            failures += 1
            print(f"failed: {name}: {type(error).__name__}: {error}", flush=True)
        finally:
            signal.alarm(0)
    print(f"{passed} passed, {failures} failed")
    sys.exit(failures > 0 or passed == 0)


if __name__ == "__main__":
    main()
