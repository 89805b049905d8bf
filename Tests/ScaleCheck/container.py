"""The image of deploy/container, built from nothing and run without a registry."""
import os
import pathlib
import subprocess
import tempfile

from replicas import DEPLOY, beside, body, case, check, free_port, lone_texts, text


@case("container: the image has the program and its libraries alone, and serves")
def _(program):
    lone = lone_texts(program)
    with tempfile.TemporaryDirectory() as folder:
        settings = pathlib.Path(folder, "storage.conf")
        settings.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/run"\n')
        os.environ["CONTAINERS_STORAGE_CONF"] = str(settings)

        def run(*command):
            result = subprocess.run(command, capture_output=True, text=True, timeout=120)
            check(result.returncode == 0, f"{command[0]} fails: {result.stderr[-2000:]}")
            return result.stdout.strip()

        try:
            run(str(DEPLOY / "container/build"), program, "bitnet-check")
            container = run("buildah", "from", "bitnet-check")
            try:
                root = pathlib.Path(run("buildah", "mount", container))
                found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
                others = {path for path in found if ".so" not in path}
                check(others == {"usr/local/bin/bitnet"}, f"the image has {sorted(others)}")
                port = free_port()
                command = ["buildah", "run", "--isolation", "chroot", container, "--", "/usr/local/bin/bitnet", "serve",
                           "--port", str(port), "--threads", "1"]
                with beside(command, port):
                    for number in range(5):
                        check(text(port, number) == lone[number], f"request {number} gives another text")
            finally:
                run("buildah", "rm", container)
        finally:
            del os.environ["CONTAINERS_STORAGE_CONF"]
