"""Calls of each kind on the channel of a cluster."""

from typing import Any

from grpcmesh.testing.ping_pb2 import PingRequest
from tests.integration.replicas import Cluster


async def make(ping: Cluster, method: str, request: PingRequest) -> None:
    """One call with one request, to its end."""
    match method:
        case "Ping":
            await ping.stub.Ping(request)
        case "Count":
            _ = [m async for m in ping.stub.Count(request)]
        case "Sum":
            await ping.stub.Sum(iter([request]))
        case _:
            _ = [m async for m in ping.stub.Echo(iter([request]))]


def begin(ping: Cluster, method: str, request: PingRequest, **options: Any) -> Any:
    """A call that has just been made."""
    requests = [request] if method in ("Ping", "Poke", "Count") else []
    return getattr(ping.stub, method)(*requests, **options)


async def answer(call: Any) -> Any:
    """The first response."""
    return await (call.read() if hasattr(call, "read") else call)
