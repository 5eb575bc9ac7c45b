"""The part of the Kubernetes API that `meshmart check` and the console use, on loopback: lists, logs, and
exec over a WebSocket.

An exec runs the command as a process on this machine, with the environment of the pod.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import WSMsgType, web

TOKEN, CONTEXT = "a-token", "fake"
_PROTOCOL = "v4.channel.k8s.io"
_STDOUT, _STDERR, _STATUS = 1, 2, 3


@dataclass
class FakeApi:
    """A namespace. Tests change its fields."""

    kubeconfig: Path
    pods: list[dict[str, Any]] = field(default_factory=list)
    deployments: list[dict[str, Any]] = field(default_factory=list)
    #: The environment of each pod's container, by the pod's name.
    environ: dict[str, Mapping[str, str]] = field(default_factory=dict)
    #: What is run in a pod in place of the command, if it is here.
    instead: dict[str, Sequence[str]] = field(default_factory=dict)
    #: Pods into which nobody may exec.
    forbidden: set[str] = field(default_factory=set)
    #: The containers into which was executed, in order.
    containers: list[str] = field(default_factory=list)
    #: The lines in the log of each pod.
    logs: dict[str, list[str]] = field(default_factory=dict)
    #: Pods whose logs nobody may read.
    unreadable: set[str] = field(default_factory=set)
    #: The number of lines in each request for a log, in order.
    tails: list[int] = field(default_factory=list)

    async def listed(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"kind": "Status", "message": "no such token"}, status=401)
        kind = request.match_info["kind"]
        found = {"pods": self.pods, "deployments": self.deployments}
        return web.json_response({"items": found.get(kind, [])})

    async def logged(self, request: web.Request) -> web.Response:
        """Like the kubelet: the last lines, of which only the first bytes are sent if they are too many."""
        pod = request.match_info["pod"]
        if pod in self.unreadable:
            words = f'pods "{pod}" is forbidden: cannot get resource "pods/log"'
            return web.json_response({"kind": "Status", "message": words}, status=403)
        if pod not in self.logs:
            words = f'container "{request.query["container"]}" in pod "{pod}" is waiting to start'
            return web.json_response({"kind": "Status", "message": words}, status=400)
        self.tails.append(int(request.query["tailLines"]))
        lines = self.logs[pod][-self.tails[-1] :]
        text = "".join(f"{line}\n" for line in lines).encode()
        return web.Response(body=text[: int(request.query["limitBytes"])], content_type="text/plain")

    async def executed(self, request: web.Request) -> web.StreamResponse:
        pod = request.match_info["pod"]
        if pod in self.forbidden:
            return web.json_response({"kind": "Status", "message": "forbidden"}, status=403)
        socket = web.WebSocketResponse(protocols=[_PROTOCOL])
        await socket.prepare(request)
        reading = asyncio.create_task(_read(socket))  # or nobody answers the client's pings
        self.containers.append(request.query["container"])
        python, *arguments = request.query.getall("command")
        assert python == "python"
        own = {k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "OTEL_", "GRPC_"))}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self.instead.get(pod, arguments),
            env=own | dict(self.environ[pod]),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed = await process.communicate()
        for channel, data in zip((_STDOUT, _STDERR), printed, strict=True):
            await socket.send_bytes(bytes([channel]))  # the real one sends empty messages, too
            await socket.send_bytes(bytes([channel]) + data)
        await socket.send_bytes(bytes([_STATUS]) + json.dumps(_status(process.returncode or 0)).encode())
        await socket.close()
        await reading
        return socket


async def _read(socket: web.WebSocketResponse) -> None:
    """Read what the client sends until the connection is closed."""
    async for message in socket:
        assert message.type is not WSMsgType.ERROR


def _status(code: int) -> dict[str, Any]:
    if not code:
        return {"status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(code)}]
    return {"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}


@contextlib.asynccontextmanager
async def fake_api(directory: Path) -> AsyncIterator[FakeApi]:
    """Serve an empty namespace, for the context `fake` of a kubeconfig in the directory."""
    api = FakeApi(directory / "kubeconfig")
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/meshmart/{kind:pods|services}", api.listed)
    app.router.add_get("/apis/apps/v1/namespaces/meshmart/{kind:deployments}", api.listed)
    app.router.add_get("/api/v1/namespaces/meshmart/pods/{pod}/exec", api.executed)
    app.router.add_get("/api/v1/namespaces/meshmart/pods/{pod}/log", api.logged)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{runner.addresses[0][1]}")))
    try:
        yield api
    finally:
        await runner.cleanup()


def _kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": "c", "user": "u"}}],
    }
