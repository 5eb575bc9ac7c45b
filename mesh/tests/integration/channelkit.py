"""Calls of each kind on the channel of a cluster."""

from typing import Any

from grpcmesh.testing.ping_pb2 import PingRequest
from tests.integration.replicas import Cluster


async def make(ping: Cluster, method: str, request: PingRequest) -> None:
    """Make one call with one request and wait for its end."""
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
    """Make a call and return it without waiting."""
    requests = [request] if method in ("Ping", "Poke", "Count") else []
    return getattr(ping.stub, method)(*requests, **options)


async def answer(call: Any) -> Any:
    """Return the first response of a call."""
    return await (call.read() if hasattr(call, "read") else call)
