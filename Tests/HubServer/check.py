#!/usr/bin/env python3
"""Pull models from a local hub that makes mistakes, and check what is left in the cache.

    Tests/HubServer/check.py .build/release/bitnet [--only TEXT]

The program must be built with the trait Hub. After every case no file has a final name whose content is another one,
and an error is one line. If huggingface_hub is installed, both programs use each other's caches.
"""
import argparse
import base64
import concurrent.futures
import json
import pathlib
import resource
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

import faults  # adds its cases
from harness import CASES, DATA, HUGE, LARGE, Case, Failure, case, check, faulty, model, sets
from hub_server import COMMIT, TOKEN, File


@case("what an engine needs, and no more")
def _(c):
    hub = c.hub()
    output = c.pull(hub)
    check(c.snapshot() == ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"],
          f"pulls {c.snapshot()}")
    check(str(c.cache) in output and "3.0 MB" in output, f"prints {output}")
    missing = sorted(path.name for path in (c.cache / f"models--org--model/.no_exist/{COMMIT}").iterdir())
    check(missing == ["chat_template.jinja", "tokenizer_config.json"], f"records {missing} as missing")
    sent = hub.sent
    check("in the cache already" in c.pull(hub), "pulls again")
    check(hub.sent - sent < 5000, "transfers files again")


@case("several segments at the same time")
def _(c):
    hub = c.hub(model(HUGE))
    c.pull(hub)
    ranges = [r[3].get("Range") for r in hub.requests if r[0] == hub.network.server_port]
    check(len(ranges) == 3 and all(ranges), f"asks for {ranges}")


@case("the token goes to the hub alone")
def _(c):
    hub = c.hub(private=True)
    c.pull(hub, variables={"HF_TOKEN": f" {TOKEN}\n"})
    for port, _, path, headers in hub.requests:
        check(("Authorization" in headers) == (port == hub.hub.server_port), f"token: {path}")


@case("the token comes from a file")
def _(c):
    (c.home / "token").write_text(TOKEN + "\n")
    c.pull(c.hub(private=True))
    shutil.move(c.home / "token", c.home / "other")
    shutil.rmtree(c.cache)
    c.pull(c.hub(private=True), variables={"HF_TOKEN_PATH": "$HF_HOME/other"})


@case("a list in pages, and a revision with slashes")
def _(c):
    hub = c.hub(page=2)
    c.pull(hub, "--revision", "refs/pr/7")
    check((c.cache / "models--org--model/refs/refs/pr/7").read_text() == COMMIT, "no ref")


@case("a commit has no ref")
def _(c):
    c.pull(c.hub(), "--revision", COMMIT)
    check(not (c.cache / "models--org--model/refs").exists(), "refs exist")


@case("shards that an index names")
def _(c):
    files = model()
    del files["model.safetensors"]
    for number in (1, 2):
        files[f"model-0000{number}-of-00002.safetensors"] = File(DATA.randbytes(5000), True)
    files["unused.safetensors"] = File(b"x" * 99, True)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    files["model.safetensors.index.json"] = File(json.dumps(index).encode(), False)
    c.pull(c.hub(files))
    check("unused.safetensors" not in c.snapshot() and len(c.snapshot()) == 6, f"pulls {c.snapshot()}")
    index["weight_map"]["c"] = "model-00003-of-00002.safetensors"
    files["model.safetensors.index.json"] = File(json.dumps(index).encode(), False)
    shutil.rmtree(c.cache)
    c.refuse(c.hub(files), "does not have")


@case("one GGUF file of several, with all its parts")
def _(c):
    files = {f"q/{name}.gguf": File(DATA.randbytes(1000), True)
             for name in ("a", "b-00001-of-00002", "b-00002-of-00002")}
    c.refuse(c.hub(files), r"2 files with models.*--file.*q/a\.gguf")
    c.refuse(c.hub(files), r"no file c\.gguf; expected one such as", "--file", "c.gguf")
    c.pull(c.hub(files), "--file", "q/b-00001-of-00002.gguf")
    check(len(c.snapshot()) == 2, f"pulls {c.snapshot()}")


@case("what other programs left is not trusted")
def _(c):
    blobs = c.cache / "models--org--model/blobs"
    blobs.mkdir(parents=True)
    files = model()
    digits = files["model.safetensors"].hash
    (blobs / f"{digits}.incomplete").write_bytes(b"garbage")
    (blobs / f"{digits}.1234abcd.incomplete").write_bytes(b"garbage")
    (blobs / f"{digits}.journal.incomplete").write_bytes(b"garbage")
    (blobs / f"{digits}.ranges.incomplete").write_bytes(b"garbage" * 9999)
    # A journal that says that all garbage is the file.
    config = files["config.json"]
    (blobs / f"{config.hash}.ranges.incomplete").write_bytes(b"x" * len(config.data))
    (blobs / f"{config.hash}.journal.incomplete").write_bytes(
        b"bitnet-journal1\n" + len(config.data).to_bytes(8, "little") + (32 << 20).to_bytes(8, "little")
        + len(config.data).to_bytes(4, "little"))
    # A file that is too short for its name.
    (blobs / files["tokenizer.json"].hash).write_bytes(b"{}")
    c.pull(c.hub(files))


@case("killed at any time, only what is missing is transferred")
def _(c):
    hub = c.hub(model(HUGE))
    for attempt in range(12):
        process = c.start(hub, "pull", "org/model")
        time.sleep(0.06 + 0.02 * attempt)
        process.send_signal(signal.SIGKILL if attempt % 2 else signal.SIGINT)
        c.end(process)
        c.check_cache(hub, complete=False)
    c.pull(hub)
    written = hub.sent
    check(written < len(HUGE) + 14 * (10 << 20), f"{written} bytes for {len(HUGE)}")


@case("two pulls at the same time")
def _(c):
    hub = c.hub(model(HUGE))
    processes = [c.start(hub, "pull", "org/model") for _ in range(3)]
    for process in processes:
        returned, _, errors = c.end(process)
        check(returned == 0, f"fails: {errors}")
    c.check_cache(hub)
    check(hub.sent < len(HUGE) + 100_000, f"{hub.sent} bytes for {len(HUGE)}")


@case("folders that cannot be written, and full disks")
def _(c):
    (c.home / "file").write_text("")
    c.refuse(c.hub(), "cannot be created", variables={"HF_HUB_CACHE": str(c.home / "file/hub")})

    def full():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    c.refuse(c.hub(), "cannot be written", preexec_fn=full)
    entry = [{"type": "file", "path": name, "size": 1 << 43, "oid": "0" * 40}
             for name in ("config.json", "model.safetensors")]
    c.refuse(faulty(c, "tree", sets(body=json.dumps(entry).encode())), "MB free; expected")


@case("settings")
def _(c):
    c.refuse(c.hub(), "HF_HUB_OFFLINE", variables={"HF_HUB_OFFLINE": "yes"})
    hub = c.hub()
    c.pull(hub)
    check("the hub was not asked" in c.pull(hub, variables={"HF_HUB_OFFLINE": "1"}), "does not say that it is offline")
    c.refuse(c.hub(), "expected an https address", variables={"HF_ENDPOINT": "http://example.com"})
    c.refuse(c.hub(), "expected an https address", variables={"HF_ENDPOINT": "ftp://localhost"})
    c.refuse(c.hub(), "cannot be reached: Connection refused", variables={"HF_ENDPOINT": "http://127.0.0.1:9"})
    c.refuse(c.hub(), "token has", variables={"HF_TOKEN": "a b"})
    c.refuse(c.hub(), "the proxy for http", variables={"HTTP_PROXY": "socks5://x"})


PROXY_AUTHORIZATION = "proxy-authorization: Basic " + base64.b64encode(b"me:s&").decode()


class Proxy(socketserver.StreamRequestHandler):
    """Passes connections on."""

    def handle(self):
        lines = []
        while (line := self.rfile.readline().decode().strip()):
            lines.append(line)
        self.server.heads.append(lines)
        if not any(line.lower() == PROXY_AUTHORIZATION.lower() for line in lines):
            self.wfile.write(b"HTTP/1.1 407 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        host, port = lines[0].split()[1].split(":")
        with socket.create_connection((host, int(port))) as other:
            self.wfile.write(b"HTTP/1.1 200 x\r\n\r\n")
            back = threading.Thread(target=self.copy, args=(other, self.connection), daemon=True)
            back.start()
            self.copy(self.connection, other)
            back.join()

    @staticmethod
    def copy(source, target):
        try:
            while (data := source.recv(1 << 16)):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@case("a proxy, and hosts that are not for it")
def _(c):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        server.daemon_threads, server.heads = True, []
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        hub = c.hub()
        c.pull(hub, variables={"http_proxy": f"http://me:s%26@{address}"})
        check(server.heads and server.heads[0][0].startswith(f"CONNECT 127.0.0.1:{hub.hub.server_port} "),
              f"the proxy got {server.heads[:1]}")
        c.refuse(hub, "the proxy asks for a name and a password", variables={"http_proxy": address})
        server.heads.clear()
        c.pull(hub, variables={"http_proxy": address, "NO_PROXY": "localhost,127.0.0.1"})
        check(not server.heads, "the proxy was asked")
        server.shutdown()


@case("https, with certificates that are trusted and others")
def _(c):
    path = c.home / "both.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path, "-out", c.home / "public.pem"],
                   check=True, capture_output=True)
    path.write_text((c.home / "public.pem").read_text() + path.read_text())
    hub = c.hub(certificate=path)
    c.refuse(hub, "certificate is not trusted")
    c.pull(hub, variables={"SSL_CERT_FILE": str(c.home / "public.pem")})
    for name in ("none.pem", "hub"):
        c.refuse(hub, "SSL_CERT_FILE is .* cannot be read", variables={"SSL_CERT_FILE": str(c.home / name)})


@case("list, remove and --model")
def _(c):
    hub = c.hub()
    status_, _, errors = c.run(hub, "inspect", "org/model")
    check(status_ != 0 and "run bitnet pull org/model" in errors, errors)
    c.pull(hub)
    status_, output, errors = c.run(hub, "list", "--json")
    found = json.loads(output)[0]
    check((found["name"], found["revisions"], found["complete"]) == ("org/model", ["main"], True), output)
    status_, output, errors = c.run(hub, "inspect", "org/model")
    check(status_ != 0 and "config.json" in errors and COMMIT in errors, f"inspect: {output}{errors}")
    status_, output, errors = c.run(hub, "remove", "org/model")
    check(status_ == 0 and "removed, 3.0 MB" in output, output + errors)
    check(not (c.cache / "models--org--model").exists(), "the folder is left")
    status_, output, errors = c.run(hub, "remove", "org/model")
    check(status_ != 0 and "is not in the cache" in errors and len(errors.splitlines()) == 1, errors)
    check("There are no models" in c.run(hub, "list")[2], "list")


@case("a model that is being pulled is not removed")
def _(c):
    hub = faulty(c, "large", sets(stop=500_000, stalls=True))
    process = c.start(hub, "pull", "org/model", variables={"HF_HUB_DOWNLOAD_TIMEOUT": "20"})
    deadline = time.monotonic() + 10
    while hub.sent < 500_000 and time.monotonic() < deadline:
        time.sleep(0.02)
    returned, output, errors = c.run(hub, "remove", "org/model")
    process.kill()
    c.end(process)
    check(returned != 0 and "is being downloaded" in errors, output + errors)


def python_client(c, hub, program, **variables):
    environment = c.environment(hub, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1", **variables)
    result = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True,
                            timeout=60)
    check(result.returncode == 0, f"the Python client fails: {result.stderr[-500:]}")
    return result.stdout.strip()


def interchange():
    @case("the Python client uses the cache of a pull")
    def _(c):
        hub = c.hub()
        c.pull(hub)
        output = python_client(c, hub, """
import huggingface_hub as hf
path = hf.hf_hub_download("org/model", "model.safetensors", local_files_only=True)
folder = hf.snapshot_download("org/model", local_files_only=True)
info = hf.scan_cache_dir()
missing = hf.try_to_load_from_cache("org/model", "chat_template.jinja")
print(len(open(path, "rb").read()), len(info.warnings), [r.repo_id for r in info.repos],
      [sorted(v.refs) for r in info.repos for v in r.revisions], missing is hf._CACHED_NO_EXIST)
""")
        check(output == f"{len(LARGE)} 0 ['org/model'] [['main']] True", f"prints {output}")
        sent = hub.sent
        python_client(c, hub, """
import huggingface_hub as hf
hf.hf_hub_download("org/model", "model.safetensors")
""")
        check(hub.sent - sent < 5000, "the Python client transfers the file again")

    @case("a pull uses the cache of the Python client")
    def _(c):
        hub = c.hub()
        python_client(c, hub, """
import huggingface_hub as hf
hf.snapshot_download("org/model")
""")
        sent = hub.sent
        check("in the cache already" in c.pull(hub), "transfers files again")
        check(hub.sent - sent < 5000, f"transfers {hub.sent - sent} bytes")
        found = json.loads(c.run(hub, "list", "--json")[1])
        check(found[0]["complete"] and found[0]["files"] == 5, f"{found}")
        check("removed" in c.run(hub, "remove", "org/model")[1], "remove")
        output = python_client(c, hub, """
import huggingface_hub as hf
info = hf.scan_cache_dir()
print(len(info.repos), len(info.warnings))
""")
        check(output == "0 0", f"the Python client sees {output}")

    @case("both at the same time")
    def _(c):
        hub = c.hub(model(HUGE))
        process = c.start(hub, "pull", "org/model")
        python_client(c, hub, """
import huggingface_hub as hf
hf.snapshot_download("org/model")
""")
        returned, _, errors = c.end(process)
        check(returned == 0, f"fails: {errors}")
        c.check_cache(hub)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--only", default="", help="run the cases whose name has this text")
    parser.add_argument("--jobs", type=int, default=4)
    arguments = parser.parse_args()
    try:
        import huggingface_hub
        interchange()
        print(f"beside huggingface_hub {huggingface_hub.__version__}")
    except ImportError:
        print("huggingface_hub is not installed; its cases are left out")
    cases = [found for found in CASES if arguments.only in found[0]]

    def run(found):
        text, function = found
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            home = pathlib.Path(folder) / "home"
            home.mkdir()
            c = Case(str(pathlib.Path(arguments.program).resolve()), home)
            try:
                function(c)
                problem = None
            except Exception as error:
                problem = f"{type(error).__name__}: {error}" if not isinstance(error, Failure) else str(error)
            finally:
                for hub in c.hubs:
                    hub.close()
        print(f"{'failed' if problem else 'passed'}: {text}, {time.monotonic() - start:.1f} s"
              + (f": {problem}" if problem else ""), flush=True)
        return problem is None

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(run, cases))
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
