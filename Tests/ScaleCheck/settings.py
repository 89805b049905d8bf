"""Prometheus beside a replica, and the settings for Kubernetes and systemd."""
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading
import urllib.parse
import urllib.request

from replicas import DEPLOY, beside, case, check, free_port, in_threads, replicas, text, wait


@case("Prometheus: rules are right, and gauges move as the load does")
def _(program):
    rules = subprocess.run(["promtool", "test", "rules", "rules.test.yml"], cwd=DEPLOY / "prometheus",
                           capture_output=True, text=True, timeout=60)
    check(rules.returncode == 0, rules.stdout + rules.stderr)
    with replicas(program, 1) as [server], tempfile.TemporaryDirectory() as folder:
        text(server.port, 1)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10).read()
        lint = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, timeout=60)
        # vLLM's names have colons, which the linter would keep for rules; and one of its histograms ends in _total.
        faults = [line for line in lint.stderr.decode().splitlines() if "should not contain ':'" not in line
                  and not line.startswith("vllm:iteration_tokens_total ")]
        check(not faults, "\n".join(faults))
        for name in ("prometheus.yml", "rules.yml"):
            settings = (DEPLOY / "prometheus" / name).read_text()
            settings = settings.replace("127.0.0.1:9931", f"127.0.0.1:{server.port}").replace("5s", "1s")
            pathlib.Path(folder, name).write_text(settings)
        port = free_port()
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                   f"--web.listen-address=127.0.0.1:{port}"]

        def value(query):
            url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
            found = json.load(urllib.request.urlopen(url, timeout=10))["data"]["result"]
            return float(found[0]["value"][1]) if found else None

        with beside(command, port, "/-/ready"):
            wait(lambda: value("up") == 1, "is not scraped", 30)
            before = value("vllm:generation_tokens_total") or 0
            seen = threading.Event()

            def client(faults):
                while not seen.is_set() and not faults:
                    text(server.port, 7)

            def watch(_):
                try:
                    wait(lambda: (value("vllm:num_requests_running") or 0) > 0, "shows no running requests", 30)
                finally:
                    seen.set()

            watcher = threading.Thread(target=in_threads, args=(8, client), daemon=True)
            watcher.start()
            in_threads(1, watch)
            watcher.join()
            wait(lambda: (value("vllm:generation_tokens_total") or 0) > before, "counts no tokens", 30)
            wait(lambda: value("vllm:num_requests_running") == 0, "shows running requests for ever", 30)


@case("settings for Kubernetes and systemd are valid")
def _(program):
    import kubernetes_validate
    import yaml
    kinds = []
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            kinds.append(document["kind"])
            if document["apiVersion"].split("/")[0] in ("apps", "v1", "policy"):
                kubernetes_validate.validate(document, "1.37", strict=True)
    check(kinds == ["Deployment", "Service", "PodDisruptionBudget", "InferencePool", "HTTPRoute", "PodMonitor"],
          f"has {kinds}")
    if shutil.which("systemd-analyze"):
        with tempfile.TemporaryDirectory() as folder:
            unit = (DEPLOY / "systemd/bitnet.service").read_text().replace("/usr/local/bin/bitnet", program)
            path = pathlib.Path(folder, "bitnet.service")
            path.write_text(unit)
            found = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60)
            check(found.returncode == 0, found.stderr)
