"""A server that is a valid member of the mesh, but another workload than the one that is called."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from grpcmesh.client.channel import MeshChannel
from grpcmesh.member import Member
from grpcmesh.resolver import StaticResolver
from local.catalog import OUTSIDER
from meshmart.tour.check import Check

WHAT = "a wrong server: another workload's certificate"
METRIC = "mesh_server_refused_total"
_TIMEOUT = 5.0


class _Payloads(grpc.GenericRpcHandler):
    """Accepts calls of one method, and counts the messages that it receives."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.received = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != self._path:
            return None
        return grpc.unary_unary_rpc_method_handler(self._take)

    async def _take(self, request: bytes, context: Any) -> bytes:
        self.received += 1
        return b""


async def checks(member: Member, certificates: Path, target: str, path: str) -> list[Check]:
    """Call a method of a target whose only endpoint is such a server, on this machine.

    Args:
        member: The member that calls.
        certificates: The directory of certificates; the server presents the outsider's.
        target: The target that is called.
        path: The method's path.
    """
    payloads = _Payloads(path)
    async with _served(payloads, certificates) as address:
        resolver = StaticResolver([address])
        async with MeshChannel(target, member.config, identity=member.identity, resolver=resolver) as channel:
            code = await _code(channel, path)
            samples = [sample for family in channel.collect() for sample in family.samples]
    counted = sum(sample.value for sample in samples if sample.name == METRIC)
    return [
        Check(f"refused: {WHAT}", code is grpc.StatusCode.UNAVAILABLE, 1, relation="=="),
        Check("payloads that it received", payloads.received, 0, relation="=="),
        Check(f"counted by the client's {METRIC}", counted > 0, 1, relation="=="),
    ]


@contextlib.asynccontextmanager
async def _served(payloads: _Payloads, certificates: Path) -> AsyncIterator[str]:
    key, crt, ca = (
        (certificates / OUTSIDER / name).read_bytes() for name in ("tls.key", "tls.crt", "ca.crt")
    )
    server = grpc.aio.server(handlers=[payloads])
    credentials = grpc.ssl_server_credentials([(key, crt)], ca, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def _code(channel: MeshChannel, path: str) -> grpc.StatusCode:
    try:
        await channel.unary_unary(path)(b"", timeout=_TIMEOUT)
    except grpc.aio.AioRpcError as e:
        return e.code()
    return grpc.StatusCode.OK
