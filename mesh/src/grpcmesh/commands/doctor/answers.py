"""Asks an endpoint's gRPC server: for its health, its clock, its callers, and whether it lets us call."""

import asyncio
import ipaddress
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2

from grpcmesh.client.options import channel_options
from grpcmesh.clock import Clock
from grpcmesh.commands.doctor.facts import Answers
from grpcmesh.config import MeshConfig
from grpcmesh.health.list_pb2 import HealthListRequest, HealthListResponse
from grpcmesh.identity import Material, Problem, ServerIdentity, explain
from grpcmesh.identity.leaf import listed, uris
from grpcmesh.identity.material import certificates
from grpcmesh.resolver import Address

_HEALTH, _CHANNELZ = "/grpc.health.v1.Health/", "/grpc.channelz.v1.Channelz/"
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_DENIED, _UNKNOWN = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED
#: No message of protobuf: a tag that does not end. A server parses a request once its policy has allowed the
#: call.
_UNPARSABLE = b"\xff"
#: The most connections of a server whose callers are looked at.
MAX_SOCKETS = 100


class Caller(NamedTuple):
    """Ourselves, as the caller of a target.

    Args:
        config: Settings of the process.
        files: Our certificate; None in plaintext mode, or if it cannot be read.
        expected: The names that the servers must prove.
        methods: Full names of methods that are asked for by a request that no server can parse.
        step: Seconds that a connection, a handshake, a call, and all calls about callers may take.
    """

    config: MeshConfig
    files: Material | None
    expected: ServerIdentity
    methods: Sequence[str] = ()
    step: float = 1.0


class Asker:
    """Asks gRPC servers.

    Args:
        clock: Returns unix seconds.
    """

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock

    async def ask(self, address: Address, caller: Caller, own_host: str) -> Answers:
        """Return the answers of one server.

        Args:
            address: Its address.
            caller: Who asks.
            own_host: Our IP address on a connection to it.
        """
        async with _channel(address, caller) as channel:
            try:
                not_serving = await _not_serving(channel, caller.step)
            except grpc.aio.AioRpcError as e:
                return Answers(_told(e))
            except DecodeError:
                return Answers("its answer cannot be parsed")
            ahead, peers = await self._look(channel, address.port, own_host, caller)
            tried = {method: await _tried(channel, method, caller.step) for method in caller.methods}
            denied = {m: e.details() or "" for m, e in tried.items() if e and e.code() is _DENIED}
            unknown = tuple(m for m, e in tried.items() if e and e.code() is _UNKNOWN)
            return Answers("", not_serving, ahead, denied, unknown, peers)

    async def _look(
        self, channel: grpc.aio.Channel, port: int, own_host: str, caller: Caller
    ) -> tuple[float | None, frozenset[str] | None]:
        """Return by how much the server's clock is ahead, and its callers. None: it does not tell."""
        ahead: float | None = None
        try:
            async with asyncio.timeout(caller.step):
                servers, ahead = await self._servers(channel)
                return ahead, await self._peers(channel, servers, port, own_host, caller)
        except (grpc.aio.AioRpcError, TimeoutError, DecodeError):
            return ahead, None

    async def _servers(self, channel: grpc.aio.Channel) -> tuple[list[int], float | None]:
        sent = self._clock()
        response = await self._call(channel, "GetServers", channelz_pb2.GetServersRequest())
        middle = (sent + self._clock()) / 2
        # This call is itself the last one that the server has started: it tells the time.
        times = [server.data.last_call_started_timestamp for server in response.server]
        newest = max((t.seconds + t.nanos / 1e9 for t in times), default=0)
        return [server.ref.server_id for server in response.server], newest - middle if newest else None

    async def _peers(
        self, channel: grpc.aio.Channel, servers: list[int], port: int, own_host: str, caller: Caller
    ) -> frozenset[str] | None:
        found = set[str]()
        for server in servers:
            request = channelz_pb2.GetServerSocketsRequest(server_id=server, max_results=MAX_SOCKETS)
            listed = await self._call(channel, "GetServerSockets", request)
            if not listed.end:
                return None
            requests = [channelz_pb2.GetSocketRequest(socket_id=ref.socket_id) for ref in listed.socket_ref]
            sockets = await asyncio.gather(*(self._socket(channel, r) for r in requests))
            for socket in sockets:
                if socket is not None and socket.local.tcpip_address.port == port:
                    found.add(_peer(socket))
        own = caller.config.identity.trust_domain, caller.config.namespace, caller.config.service
        return frozenset(found - {own_host, f"spiffe://{own[0]}/ns/{own[1]}/sa/{own[2]} at {own_host}"})

    async def _socket(self, channel: grpc.aio.Channel, request: Any) -> Any:
        try:
            return (await self._call(channel, "GetSocket", request)).socket
        except grpc.aio.AioRpcError:
            return None  # closed meanwhile

    async def _call(self, channel: grpc.aio.Channel, name: str, request: Any) -> Any:
        answer = getattr(channelz_pb2, f"{name}Response")
        return await _asked(channel, _CHANNELZ + name, request, answer)


def _channel(address: Address, caller: Caller) -> grpc.aio.Channel:
    config, files = caller.config, caller.files
    options = channel_options(config.balancer, config.channel, "", caller.expected)
    if config.plaintext or files is None:
        return grpc.aio.insecure_channel(address.uri, options)
    credentials = grpc.ssl_channel_credentials(
        files.bundle_for(caller.expected.domain), files.private_key, files.cert_chain
    )
    return grpc.aio.secure_channel(address.uri, credentials, options)


async def _asked(
    channel: grpc.aio.Channel, path: str, request: Any, answer: type[Any], timeout: float | None = None
) -> Any:
    """Make a call. Raises AioRpcError, and DecodeError for bytes that are no such answer."""
    # Not grpc's own deserializer, with which a malformed answer is logged and becomes None.
    call: Any = channel.unary_unary(path, request_serializer=type(request).SerializeToString)
    return answer.FromString(await call(request, timeout=timeout))


async def _not_serving(channel: grpc.aio.Channel, timeout: float) -> tuple[str, ...]:
    """Return the services that are NOT_SERVING. A server without health service counts as serving."""
    try:
        listed = await _asked(channel, f"{_HEALTH}List", HealthListRequest(), HealthListResponse, timeout)
        return tuple(
            sorted(name for name, health in listed.statuses.items() if health.status == _NOT_SERVING)
        )
    except grpc.aio.AioRpcError as e:
        if e.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
    return await _checked(channel, timeout)


async def _checked(channel: grpc.aio.Channel, timeout: float) -> tuple[str, ...]:
    request, kind = health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
    try:
        answer = await _asked(channel, f"{_HEALTH}Check", request, kind, timeout)
    except grpc.aio.AioRpcError as e:
        if e.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND):
            return ()
        raise
    return ("",) if answer.status == _NOT_SERVING else ()


async def _tried(channel: grpc.aio.Channel, method: str, timeout: float) -> grpc.aio.AioRpcError | None:
    """Return the error by which a server refuses a request that it cannot parse. The method does not run."""
    call: Any = channel.unary_unary(f"/{method}")
    try:
        await call(_UNPARSABLE, timeout=timeout)
    except grpc.aio.AioRpcError as e:
        return e
    return None


def _told(error: grpc.aio.AioRpcError) -> str:
    details = error.details() or ""
    explained = explain(details)
    return f"{error.code().name}: {explained[1] if explained else details[:200]}"


def _peer(socket: Any) -> str:
    """Return a caller: its SPIFFE id, if it has shown a certificate, and its IP address."""
    packed = socket.remote.tcpip_address.ip_address
    host = str(ipaddress.ip_address(packed)) if len(packed) in (4, 16) else "an unknown address"
    found = certificates("the caller's certificate", socket.security.tls.remote_certificate)
    shown = [] if isinstance(found, Problem) else uris(found[0])
    return f"{listed(shown)} at {host}" if shown else host
