"""The lifespan and the middleware for ASGI applications, with Starlette."""

from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from grpcmesh import Mesh
from grpcmesh.asgi import MeshMiddleware, lifespan
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.config import AdminConfig, IdentityConfig, MeshConfig
from grpcmesh.resolver import StaticResolver
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.serverkit import serve


async def test_an_application_makes_calls_from_coroutines_and_from_threads(tmp_path: Path) -> None:
    ca = CertificateAuthority()
    write_atomically(tmp_path / "client", ca.issue("client").files())
    identity = IdentityConfig(directory=tmp_path / "client")
    mesh = Mesh(MeshConfig("client", identity=identity, admin=AdminConfig(address="")))
    endpoints: list[str] = []

    async def coroutine(request: Request) -> JSONResponse:
        channel = request.state.mesh.channel("ping", resolver=StaticResolver(endpoints))
        answer: Any = await PingServiceStub(channel).Ping(PingRequest(text="c"), timeout=60)
        return JSONResponse({"text": answer.text, "sent": dict(answer.metadata)})

    def thread(request: Request) -> JSONResponse:
        channel = request.state.mesh.sync_channel("ping", resolver=StaticResolver(endpoints))
        answer: Any = PingServiceStub(channel).Ping(PingRequest(text="t"), timeout=60)  # type: ignore[call-arg]
        return JSONResponse({"text": answer.text, "sent": dict(answer.metadata)})

    app = Starlette(
        routes=[Route("/coroutine", coroutine), Route("/thread", thread)],
        lifespan=lifespan(mesh),
        middleware=[Middleware(MeshMiddleware, mesh=mesh)],
    )
    async with serve(tmp_path / "server", ca=ca) as served, app.router.lifespan_context(app) as state:
        endpoints.append(served.endpoint)
        transport = httpx.ASGITransport(_with_state(app, state))
        async with httpx.AsyncClient(transport=transport, base_url="http://web") as client:
            for path, text in (("/coroutine", "c"), ("/thread", "t")):
                response = await client.get(path)
                answer = response.json()
                assert answer["text"] == text
                assert response.headers["x-trace-id"] in answer["sent"]["traceparent"]
                labels = {
                    "http_request_method": "GET",
                    "http_route": path,
                    "http_response_status_code": "200",
                }
                registry = mesh.telemetry.registry
                assert registry.get_sample_value("http_server_request_duration_seconds_count", labels) == 1


def _with_state(app: Any, state: Any) -> Any:
    """Return the application with the state of its lifespan, as a server passes it."""

    async def run(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": dict(state or {})}, receive, send)

    return run
