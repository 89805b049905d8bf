"""Runs the program under test against a local hub, and checks what is left in the cache."""
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess

from hub_server import COMMIT, File, Hub, git_sha1

DATA = random.Random(7)
SMALL = {"config.json": b'{"model_type": "bitnet"}', "tokenizer.json": b'{"version": "1.0"}',
         "README.md": b"not needed", "generation_config.json": b"{}"}
LARGE = DATA.randbytes(3_000_000)
# Three segments of 32 MiB, the last one short.
HUGE = DATA.randbytes(1 << 20) * 66 + b"end"
CASES = []


def model(weights=LARGE, **others):
    files = {path: File(data, False) for path, data in SMALL.items()}
    files["model.safetensors"] = File(weights, True)
    return {**files, **others}


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


class Case:
    """A cache of its own, and a hub."""

    def __init__(self, program, folder):
        self.program, self.home, self.hubs = program, pathlib.Path(folder), []
        self.cache = self.home / "hub"

    def hub(self, files=None, **options):
        hub = Hub(files or model(), **options)
        self.hubs.append(hub)
        return hub

    def environment(self, hub, **variables):
        result = {"PATH": os.environ["PATH"], "HOME": str(self.home), "HF_HOME": str(self.home),
                  "HF_ENDPOINT": hub.endpoint, "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        result.update(variables)
        return result

    def start(self, hub, *arguments, variables={}, **options):
        return subprocess.Popen([self.program, *arguments], env=self.environment(hub, **variables),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    def end(self, process, seconds=60):
        try:
            output, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failure(f"does not end within {seconds} s")
        return process.returncode, output, errors.strip()

    def run(self, hub, *arguments, **options):
        return self.end(self.start(hub, *arguments, **options))

    def pull(self, hub, *arguments, **options):
        """A pull that must succeed."""
        status, output, errors = self.run(hub, "pull", "org/model", *arguments, **options)
        check(status == 0, f"fails: {errors}")
        self.check_cache(hub)
        return output

    def refuse(self, hub, pattern, *arguments, name="org/model", **options):
        """A pull that must fail, with one sentence."""
        status, output, errors = self.run(hub, "pull", name, *arguments, **options)
        check(status not in (0, None) and status > 0, f"ends with {status}: {output}{errors}")
        lines = errors.splitlines()
        check(len(lines) == 1 and len(errors) < 700, f"does not say one sentence: {errors}")
        check(re.search(pattern, errors), f"says: {errors}")
        self.check_cache(hub, complete=False)
        return errors

    def check_cache(self, hub, complete=True):
        """No file under a final name has another content than its name or the hub says."""
        root = self.cache / "models--org--model"
        for blob in root.glob("blobs/*"):
            if blob.name.endswith(".incomplete"):
                check(not complete, f"{blob.name} is left")
                continue
            data = blob.read_bytes()
            check(blob.name in (git_sha1(data), hashlib.sha256(data).hexdigest()), f"wrong content in {blob.name}")
        for path in root.glob("snapshots/*/**/*"):
            if path.is_dir():
                continue
            name = str(path.relative_to(root / "snapshots" / COMMIT))
            check(not name.endswith(".incomplete"), f"{name} is left")
            check(path.is_symlink() and not os.path.isabs(os.readlink(path)), f"{name} is no relative link")
            check(path.read_bytes() == hub.files[name].data, f"wrong content in {name}")
        for ref in root.glob("refs/**/*"):
            if ref.is_file():
                check(ref.read_text() == COMMIT, f"{ref} is wrong")
        outside = [path for path in self.home.parent.glob("evil*")] + [path for path in self.home.rglob("evil*")]
        check(not outside, f"{outside} exists")

    def snapshot(self):
        folder = self.cache / "models--org--model/snapshots" / COMMIT
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def case(text):
    def add(function):
        CASES.append((text, function))
        return function
    return add


def at(kinds, change, times=None, name="fault"):
    """A fault of the answers of some kinds: of the first `times`, or of all."""
    def fault(kind, request, answer):
        hub = fault.hub
        if kind in kinds.split() and answer.status in (200, 206, 302, 307):
            if times is None or hub.count(name) < times:
                change(answer)
    return fault


def faulty(c, kinds, change, times=None, files=None, **options):
    """A hub whose answers of some kinds are changed, the first `times` of them or all, and an empty cache."""
    shutil.rmtree(c.cache, ignore_errors=True)
    fault = at(kinds, change, times)
    hub = c.hub(files, fault=fault, **options)
    fault.hub = hub
    return hub


def sets(**attributes):
    def change(answer):
        for name, value in attributes.items():
            setattr(answer, name, value)
    return change


def status(number, headers=None):
    return lambda answer: (sets(status=number, body=b"no")(answer), answer.headers.clear(),
                           answer.headers.update(headers or {}))


def flip(answer):
    answer.body = bytes([answer.body[0] ^ 1]) + answer.body[1:]
