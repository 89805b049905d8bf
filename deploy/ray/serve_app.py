"""Replicas of `bitnet serve` as a Ray Serve application with OpenAI's interface.

    pip install "ray[serve]==2.60.0"
    BITNET_MODEL=2b.safetensors BITNET_REPLICAS=3 serve run serve_app:app

Environment: BITNET (the command, default "bitnet"), BITNET_MODEL (default: the demo model), BITNET_REPLICAS (1),
BITNET_CPUS (1, for each replica), BITNET_OPTIONS (more options of `bitnet serve`).

Each replica owns a process of `bitnet serve` on a free port of its node and passes answers on as they come. Ray's
prefix-aware router sends a prompt to the replica that has seen its longest beginning, so that its cache serves it.
"""

import asyncio
import os
import re
import shlex
from dataclasses import dataclass, field

import aiohttp
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle

ROUTER = "ray.llm._internal.serve.routing_policies.prefix_aware.prefix_aware_router:PrefixCacheAffinityRouter"


@dataclass
class Call:
    """A request on its way to a replica. The router reads the prompt."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    prompt: str = field(default="")


@serve.deployment(
    num_replicas=int(os.environ.get("BITNET_REPLICAS", "1")),
    max_ongoing_requests=512,
    ray_actor_options={"num_cpus": float(os.environ.get("BITNET_CPUS", "1"))},
    health_check_period_s=2,
    graceful_shutdown_timeout_s=150,
    request_router_config=RequestRouterConfig(
        request_router_class=ROUTER.replace(":", "."),
        request_router_kwargs={"imbalanced_threshold": 8},
    ),
)
class Replica:
    async def __init__(self, command: list[str]):
        self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        line = (await self.process.stdout.readline()).decode()
        match = re.search(r"http://\S+", line)
        if match is None:
            raise RuntimeError(f"bitnet serve did not start: {line!r}")
        self.url = match.group()
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=2))

    async def check_health(self):
        if self.process.returncode is not None:
            raise RuntimeError(f"bitnet serve ended with status {self.process.returncode}")
        async with self.session.get(self.url + "/health") as response:
            response.raise_for_status()

    async def __del__(self):
        await self.session.close()
        if self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    async def answer(self, call: Call):
        """Yields the status and the headers of the answer, then its pieces."""
        async with self.session.request(
            call.method, self.url + call.path, headers=call.headers, data=call.body
        ) as response:
            kept = ("content-type", "x-request-id", "retry-after", "cache-control")
            yield response.status, {name: response.headers[name] for name in kept if name in response.headers}
            async for piece in response.content.iter_any():
                yield piece


web = FastAPI()


@serve.deployment(num_replicas=1, max_ongoing_requests=4096, ray_actor_options={"num_cpus": 0})
@serve.ingress(web)
class Front:
    def __init__(self, replicas: DeploymentHandle):
        self.replicas = replicas.options(stream=True)

    @web.api_route("/{path:path}", methods=["GET", "POST"])
    async def forward(self, path: str, request: Request):
        body = await request.body()
        kept = ("content-type", "authorization", "x-api-key", "x-request-id", "accept")
        call = Call(
            method=request.method,
            path="/" + path,
            headers={name: request.headers[name] for name in kept if name in request.headers},
            body=body,
            # The beginning of the body is the same where that of the prompt is. It is never empty, as the router needs.
            prompt=(body.decode(errors="replace") or path or "/")[:100_000],
        )
        pieces = self.replicas.answer.remote(call)
        status, headers = await anext(pieces)
        if "text/event-stream" in headers.get("content-type", "") or "ndjson" in headers.get("content-type", ""):
            return StreamingResponse(pieces, status_code=status, headers=headers)
        return Response(b"".join([piece async for piece in pieces]), status_code=status, headers=headers)


command = [
    os.environ.get("BITNET", "bitnet"),
    "serve",
    *filter(None, [os.environ.get("BITNET_MODEL")]),
    "--port",
    "0",
    *shlex.split(os.environ.get("BITNET_OPTIONS", "")),
]
app = Front.bind(Replica.bind(command))
