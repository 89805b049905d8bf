"""Ports, keys, certificates, signals: what operators do to a server."""
import json
import pathlib
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from harness import Server, case, check, post, read_all, status, wait

CHAT = {"messages": [{"role": "user", "content": "Once"}], "max_tokens": 4, "seed": 1}


@case("SIGTERM: running answers finish, idle connections close, the status is 0")
def _(program):
    with Server(program) as server:
        idle = server.connect()
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        check(status(idle.recv(4096)) == 200, "is not healthy")
        busy = server.connect()
        busy.sendall(post("/v1/completions", {"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True}))
        first = busy.recv(4096)
        check(status(first) == 200, f"answers {first[:80]!r}")
        server.process.send_signal(signal.SIGTERM)
        idle.settimeout(5)
        check(idle.recv(1) == b"", "keeps an idle connection")
        rest = read_all(busy)
        check(b"data: [DONE]" in rest, f"cuts the answer off: {rest[-100:]!r}")
        check(server.process.wait(10) == 0, f"ends with {server.process.returncode}")
        idle.close()
        busy.close()
    with Server(program) as server:
        check(server.terminate() == 0, "does not end with 0")


@case("a port in use, a port out of range, models that are missing")
def _(program):
    def fails(*arguments):
        result = subprocess.run([program, "serve", *arguments], capture_output=True, text=True, timeout=60)
        check(result.returncode != 0, f"takes {arguments}")
        return result.stderr

    with Server(program) as server:
        errors = fails("--port", str(server.port))
        check("in use" in errors.lower(), f"says {errors}")
        late = fails("--port", str(server.port), "missing.safetensors")
        check("in use" in late.lower(), f"loads models first: {late}")
    for host in ["no such host", "[::1]", "203.0.113.7"]:
        errors = fails("--port", "0", "--host", host)
        check(errors.startswith(f'Error: --host is "{host}"') and errors.count("\n") == 1, f"says {errors}")
    check("65535" in fails("--port", "65536"), "takes a port out of range")
    check("missing.safetensors" in fails("--port", "0", "missing.safetensors"), "says nothing of the file")


@case("keys of a file, read again at SIGHUP")
def _(program):
    with tempfile.TemporaryDirectory() as folder:
        keys = pathlib.Path(folder) / "keys"
        keys.write_text("# ours\nfirst\n\n  second  \n")
        with Server(program, "--api-key-file", str(keys)) as server:
            def found(value):
                return server.request("GET", "/v1/models", headers={"Authorization": value} if value else {})[0]

            check(found("Bearer first") == found("bearer second") == 200, "refuses a key")
            for value in [None, "", "Bearer", "Bearer ", "first", "Bearer # ours", "Bearer firs", "Basic first"]:
                check(found(value) == 401, f"takes {value!r}")
            check(server.request("GET", "/health")[0] == 200, "wants a key for health")
            keys.write_text("third\n")
            server.process.send_signal(signal.SIGHUP)
            wait(lambda: found("Bearer third") == 200, "does not read the file again")
            check(found("Bearer first") == 401, "keeps an old key")
            keys.write_text("\n")
            server.process.send_signal(signal.SIGHUP)
            wait(lambda: "stay as they were" in server.log(), "says nothing of a file without keys")
            check(found("Bearer third") == 200, "lets nobody in after a bad file")
            check("third" not in server.log(), "logs a key")


@case("TLS, and a certificate that is replaced")
def _(program):
    with tempfile.TemporaryDirectory() as folder:
        def certificate(name):
            files = [f"{folder}/{name}.pem", f"{folder}/{name}.key"]
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                            f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout",
                            files[1]], check=True, capture_output=True)
            return files

        one, other = certificate("one"), certificate("other")
        with Server(program, "--tls-certificate", one[0], "--tls-key", one[1]) as server:
            check(server.scheme == "https", f"says {server.line}")

            def answer(trusted):
                context = ssl.create_default_context(cafile=trusted)
                with context.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection:
                    connection.sendall(post("/v1/chat/completions", {**CHAT, "stream": True}, "Connection: close"))
                    return read_all(connection)

            check(b"data: [DONE]" in answer(one[0]), "streams nothing over TLS")
            check(status(server.raw(b"GET /health HTTP/1.1\r\n\r\n")) is None, "answers without TLS")
            for old, new in zip(one, other):
                pathlib.Path(old).write_bytes(pathlib.Path(new).read_bytes())
            server.process.send_signal(signal.SIGHUP)

            def renewed():
                try:
                    return b"data: [DONE]" in answer(other[0])
                except ssl.SSLError:
                    return False
            wait(renewed, "does not read the certificate again")
        result = subprocess.run([program, "serve", "--port", "0", "--tls-certificate", one[1], "--tls-key", one[1]],
                                capture_output=True, text=True, timeout=60)
        check(result.returncode != 0 and one[1] in result.stderr, f"says {result.stderr}")


@case("variables for options, a Unix socket, several models")
def _(program):
    with Server(program, variables={"BITNET_ARG_MAX_TOKENS": "3", "BITNET_ARG_API_KEY": "a,b",
                                    "BITNET_ARG_LOG_FORMAT": "json"}) as server:
        answer = server.json("POST", "/v1/chat/completions", {**CHAT, "max_tokens": 50}, headers={"x-api-key": "b"})
        check(answer["usage"]["completion_tokens"] <= 3, "ignores a variable")
        wait(lambda: "request" in server.log(), "logs nothing")
        lines = [json.loads(line) for line in server.log().splitlines() if line.startswith("{")]
        check(any(line["message"] == "request" and line["status"] == "200" for line in lines), f"logs {lines}")
    result = subprocess.run([program, "serve", "--port", "0"], capture_output=True, text=True, timeout=60,
                            env={"BITNET_ARG_PROT": "1"})
    check(result.returncode != 0 and "BITNET_ARG_PROT" in result.stderr, f"says {result.stderr}")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        with Server(program, "--unix-socket", path) as server:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                check(status(read_all(connection)) == 200, "answers nothing on its socket")
            again = [program, "serve", "--unix-socket", path]
            second = subprocess.run(again, capture_output=True, text=True, timeout=60)
            check(second.returncode == 1 and "in use by another server" in second.stderr, f"says {second.stderr}")
            check(pathlib.Path(path).exists(), "a second server removes the socket of the first")
            check(server.terminate() == 0 and not pathlib.Path(path).exists(), "leaves its socket behind")
        pathlib.Path(path).write_text("precious")
        other = subprocess.run(again, capture_output=True, text=True, timeout=60)
        check(other.returncode == 1 and pathlib.Path(path).read_text() == "precious", f"says {other.stderr}")
        with socket.socket(socket.AF_UNIX) as left:
            pathlib.Path(path).unlink()
            left.bind(path)
        with Server(program, "--unix-socket", path) as server:
            check(server.terminate() == 0, "does not start where an earlier server left its socket")


@case("metrics under vLLM's names, which move")
def _(program):
    with Server(program) as server:
        def metrics():
            text = server.request("GET", "/metrics")[2].decode()
            return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
                    for line in text.splitlines() if not line.startswith("#")}

        before = metrics()
        labels = '{model_name="demo",engine="0"}'
        for name in ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"]:
            check(before[f"vllm:{name}{labels}"] == 0, f"{name} is {before[f'vllm:{name}{labels}']}")
        prompt = "Once upon a time there was a king " * 20
        for _ in range(2):
            server.json("POST", "/v1/completions", {"prompt": prompt, "max_tokens": 7, "ignore_eos": True})
        after = metrics()
        check(after[f"vllm:generation_tokens_total{labels}"] == 14, "counts tokens wrong")
        check(after[f"vllm:prefix_cache_hits_total{labels}"] > 100, "counts no hits")
        check(after[f"vllm:time_to_first_token_seconds_count{labels}"] == 2, "counts first tokens wrong")
        check(after[f"vllm:inter_token_latency_seconds_count{labels}"] == 12, "counts times wrong")
        length = f'vllm:request_success_total{labels[:-1]},finished_reason="length"}}'
        check(after[length] == 2, f"{length} is {after[length]}")
        with server.connect() as busy:
            busy.sendall(post("/v1/completions", {"prompt": "a", "max_tokens": 900, "ignore_eos": True, "n": 4}))
            wait(lambda: metrics()[f"vllm:num_requests_running{labels}"] == 4, "shows no running requests")
            check(metrics()[f"vllm:kv_cache_usage_perc{labels}"] > 0, "shows no use of the cache")
        wait(lambda: metrics()[f"vllm:num_requests_running{labels}"] == 0, "runs on for a client that has left")
        check(metrics()[length.replace("length", "abort")] == 4, "counts no aborts")


@case("a full queue gives 429 and Retry-After")
def _(program):
    with Server(program, "--max-running", "1", "--max-waiting", "1") as server:
        # One runs and one waits: of many at the same moment, others find the queue full.
        body = {"prompt": "a", "max_tokens": 400, "ignore_eos": True}
        found = []
        callers = [threading.Thread(target=lambda: found.append(server.request("POST", "/v1/completions", body)))
                   for _ in range(16)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        statuses = sorted(answer[0] for answer in found)
        check(len(found) == 16 and set(statuses) == {200, 429}, f"gives {statuses}")
        for status_code, fields, data in found:
            if status_code == 429:
                check(fields["Retry-After"] == "1", f"gives {fields}")
                check(json.loads(data)["error"]["code"] == "queue_full", f"says {data}")
        more = server.json("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1, "n": 3}, status=400)
        check(more["error"]["param"] == "n" and "at most 2" in more["error"]["message"], f"says {more}")
        small = {"prompt": "a", "max_tokens": 1}
        wait(lambda: server.request("POST", "/v1/completions", small)[0] == 200, "stays full")
    with Server(program, "--timeout", "0.2") as server:
        server.json("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1500, "ignore_eos": True, "n": 8}, 504)


@case("a loopback server answers to this computer's names alone, others only where they are allowed")
def _(program):
    def statuses(server, *hosts):
        found = []
        for host in hosts:
            head = "" if host is None else f"Host: {host}\r\n"
            version = "1.0" if host is None else "1.1"
            request = f"GET /v1/models HTTP/{version}\r\n{head}Connection: close\r\n\r\n"
            found.append(status(server.raw(request.encode())))
        return found

    evil = ["evil.example", "evil.example:9931", "127.0.0.1.evil.example", "localhost.evil.example", "[evil]",
            "[::1]evil.example", "localhost:evil"]
    own = ["localhost", "LOCALHOST:9931", "127.0.0.1", "127.0.0.1:1", "[::1]:80", "me.localhost", "localhost.", None]
    with Server(program) as server:
        check(statuses(server, *evil) == [403] * len(evil), f"answers {statuses(server, *evil)}")
        check(statuses(server, *own) == [200] * len(own), f"answers {statuses(server, *own)} to its own names")
        for fields in ["", "Host: localhost\r\nHost: evil.example\r\n"]:
            answer = server.raw(f"GET /v1/models HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode())
            check(status(answer) == 400 and b"malformed_http" in answer, f"answers {answer!r}")
        found, _, body = server.request("POST", "/v1/completions", {"prompt": "A"}, {"Host": "evil.example"})
        check(found == 403 and json.loads(body)["error"]["code"] == "host_not_allowed", f"answers {found}: {body!r}")
    try:
        with socket.socket(socket.AF_INET6) as place:
            place.bind(("::ffff:127.0.0.1", 0))
    except OSError as error:
        print(f"  skipped: an address of IPv4 in the form of IPv6: {error}")
    else:
        with Server(program, "--host", "::ffff:127.0.0.1") as server:
            check(statuses(server, "evil.example") == [403], "takes a loopback address for a public one")
    with Server(program, "--allowed-host", "chat.example.org", "--allowed-host", "other") as server:
        check(statuses(server, "Chat.Example.org:80", "other", "evil.example") == [200, 200, 403], "allows others")
    with Server(program, "--allowed-host", "*") as server:
        check(statuses(server, *evil) == [200] * len(evil), "does not allow all")
    with Server(program, "--api-key", "secret") as server:
        check(statuses(server, "evil.example") == [401], "looks at names although it has keys")


@case("receipts of answers pass audits, and are signed with the operator's key")
def _(program):
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        secret, public, lines = str(folder / "key.pem"), str(folder / "public.pem"), folder / "receipts.jsonl"
        openssl("genpkey", "-algorithm", "ed25519", "-out", secret)
        openssl("pkey", "-in", secret, "-pubout", "-out", public)
        with Server(program, "--receipt-key", secret) as server:
            options = {"seed": 3, "max_tokens": 20, "presence_penalty": 1, "logit_bias": {"11": -3}, "receipt": True}
            chat = server.json("POST", "/v1/chat/completions", {**CHAT, **options, "n": 2, "response_format": {
                "type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}})
            whole = server.json("POST", "/v1/completions", {"prompt": ["Once", "The"], "logprobs": 0, **options})
            receipts = [choice["receipt"] for answer in (chat, whole) for choice in answer["choices"]]
        check(len(receipts) == 4 and all('"signature"' in receipt for receipt in receipts), f"gives {receipts}")
        lines.write_text("".join(receipt + "\n" for receipt in receipts))
        audit = subprocess.run([program, "audit", str(lines), "--public-key", public], capture_output=True, text=True)
        check(audit.returncode == 0 and audit.stdout.count(": right:") == 4, audit.stdout + audit.stderr)
        lines.write_text(receipts[0].replace('"seed":"3"', '"seed":"4"') + "\n")
        audit = subprocess.run([program, "audit", str(lines)], capture_output=True, text=True)
        check(audit.returncode == 1 and ": wrong:" in audit.stdout, audit.stdout)
        result = subprocess.run([program, "serve", "--port", "0", "--receipt-key", public], capture_output=True,
                                text=True, timeout=60)
        check(result.returncode != 0 and "PRIVATE KEY" in result.stderr, f"takes a public key: {result.stderr}")


@case("speculation is counted, in metrics and in an answer's timings")
def _(program):
    with Server(program) as server:
        answer = server.json("POST", "/v1/completions", {
            "prompt": "the the the the the the the the the the", "max_tokens": 300, "ignore_eos": True,
            "temperature": 0})
        text = server.request("GET", "/metrics")[2].decode()

    def value(name, labels=""):
        head = f'vllm:{name}{{model_name="demo",engine="0"{labels}}} '
        found = [line for line in text.splitlines() if line.startswith(head)]
        check(len(found) == 1, f"has {len(found)} samples of {name}")
        return float(found[0].split()[-1])

    drafted, accepted = value("spec_decode_num_draft_tokens_total"), value("spec_decode_num_accepted_tokens_total")
    drafts = value("spec_decode_num_drafts_total")
    timings = answer["timings"]
    check(drafted == timings.get("draft_n", 0) and accepted == timings.get("draft_n_accepted", 0), f"gives {timings}")
    positions = [value("spec_decode_num_accepted_tokens_per_pos_total", f',position="{place}"') for place in range(7)]
    check(sum(positions) == accepted <= drafted <= 7 * drafts, f"counts {positions}")
    check(positions == sorted(positions, reverse=True) and drafts > 0, f"counts {positions} of {drafts} guesses")
    tokens, steps = value("iteration_tokens_total_sum"), value("iteration_tokens_total_count")
    check(tokens == 300 + answer["usage"]["prompt_tokens"], f"counts {tokens} tokens")
    check(steps <= 301, f"counts {steps} steps")
