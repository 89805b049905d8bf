"""Routers of deploy/ in front of three replicas, which are killed, drained and restarted under load."""
import contextlib
import os
import pathlib
import signal
import sys
import tempfile

from replicas import (CLIENTS, DEPLOY, REQUESTS, answers, beside, case, check, free_port, load, lone_texts, replicas,
                      wait)


@contextlib.contextmanager
def haproxy(servers):
    port, stats = free_port(), free_port()
    variables = {f"BITNET_{index}": f"127.0.0.1:{server.port}" for index, server in enumerate(servers, 1)}
    command = ["haproxy", "-db", "-f", str(DEPLOY / "haproxy/haproxy.cfg")]
    with beside(command, port, BITNET_FRONT=f"127.0.0.1:{port}", BITNET_STATS=f"127.0.0.1:{stats}", **variables):
        yield port


@contextlib.contextmanager
def nginx(servers):
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = (DEPLOY / "nginx/nginx.conf").read_text()
        for place, server in zip(("9931", "9932", "9933"), servers):
            settings = settings.replace(f"127.0.0.1:{place}", f"127.0.0.1:{server.port}")
        settings = settings.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
        pathlib.Path(folder, "nginx.conf").write_text(settings)
        command = ["nginx", "-p", folder, "-c", "nginx.conf", "-e", "errors.log",
                   "-g", f"daemon off; pid {folder}/pid;"]
        with beside(command, port):
            yield port


@contextlib.contextmanager
def vllm_router(servers):
    port = free_port()
    command = [str(DEPLOY / "vllm-router/start"), str(port),
               *(f"http://127.0.0.1:{server.port}" for server in servers)]
    folder = str(pathlib.Path(sys.executable).parent)
    with beside(command, port, PATH=folder + os.pathsep + os.environ["PATH"]):
        yield port


def through(program, start):
    """Kills, drains and restarts replicas behind a router under load."""
    lone = lone_texts(program)
    with replicas(program) as servers, start(servers) as port:
        first, second, third = servers
        statuses = []

        def drain(server):
            statuses.append(server.stop(signal.SIGTERM))

        def restart(server):
            server.start()
            wait(lambda: answers(server.port), "a replica does not start again", 20)

        broken = load(port, lone, [(0.3, lambda: drain(third)), (0.6, lambda: restart(third))])
        check(statuses == [0], f"a drained replica ends with {statuses}")
        check(not broken, f"a drain breaks {len(broken)} answers: {broken[:3]}")
        broken = load(port, lone, [(0.2, lambda: first.stop(signal.SIGKILL)), (0.5, lambda: restart(first)),
                                   (0.7, lambda: drain(second))])
        check(statuses == [0, 0], f"drained replicas end with {statuses}")
        check(len(broken) <= 3 * CLIENTS, f"{len(broken)} answers were broken off")
        print(f"  {2 * REQUESTS} answers as alone; {len(broken)} asked for again when a replica was killed")


@case("HAProxy: replicas are killed, drained and restarted under load")
def _(program):
    through(program, haproxy)


@case("nginx: replicas are killed, drained and restarted under load")
def _(program):
    through(program, nginx)


@case("vllm-router: replicas are killed, drained and restarted under load")
def _(program):
    through(program, vllm_router)
