"""gRPC's interop tests over mutual TLS, both ways: grpc-go's client at our server, our client at its server.

Each case of our client also runs on bare grpc.aio, and our server stands beside grpc.aio's: what fails there
too is grpcio's. Not run: credentials of Google and ALTS, which are no business of a mesh's. The cases of load
reports are in test_orca.py.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.authz import PolicyStore
from grpcmesh.balancer.oob import LoadReportServicer
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import AdmissionConfig, AuthzConfig, IdentityConfig, MeshConfig, TelemetryConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer, server_layers
from grpcmesh.telemetry import Telemetry
from grpcmesh.watchers import WatcherBudget
from tests import gotools
from tests.conformance import protos
from tests.conformance.interop_cases import CASES, EMPTY, Cases, run
from tests.conformance.interop_service import TestService

HERE = Path(__file__).parent
FILES = ["interop/test.proto", "interop/messages.proto", "interop/empty.proto"]
POLICY = """
[[allow]]
from = ["client"]
methods = [
  "grpc.testing.TestService/*", "grpc.testing.UnimplementedService/*",
  "xds.service.orca.v3.OpenRcaService/*",
]
[users]
"grpc.testing.TestService/*" = "anyone"
"grpc.testing.UnimplementedService/*" = "anyone"
"xds.service.orca.v3.OpenRcaService/*" = "anyone"
"""
#: The cases that grpc-go's client runs in one process.
GO_CASES = [*EMPTY, *CASES, "channel_soak", "compressed_unary", "compressed_streams"]
#: The most seconds that all of them may take, and the end of a process.
TIMEOUT = 900


@dataclass
class Peers:
    """The Go program, the certificates and the generated code, which both sides need."""

    program: Path
    directory: Path
    messages: Any
    empty: Any
    rpc: Any


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Peers:
    directory = tmp_path_factory.mktemp("interop")
    program = gotools.build(HERE / "interop", directory / "interop")
    described = subprocess.run([program, "protos"], capture_output=True, check=True, timeout=600).stdout
    (directory / "interop.binpb").write_bytes(described)
    out = directory / "protos"
    protos.generate(directory / "interop.binpb", out, *FILES)
    ca = CertificateAuthority()
    for name in ("server", "client"):
        write_atomically(directory / name, ca.issue(name).files())
    (directory / "policy.toml").write_text(POLICY)
    names = ("messages_pb2", "empty_pb2", "test_pb2_grpc")
    return Peers(program, directory, *(protos.load(str(out), f"interop.{n}") for n in names))


def config(peers: Peers, service: str) -> MeshConfig:
    return MeshConfig(
        service,
        address="127.0.0.1:0",
        identity=IdentityConfig(peers.directory / service),
        authz=AuthzConfig(peers.directory / "policy.toml"),
        # A busy machine makes calls queue: what admission does about that is not for these tests.
        admission=AdmissionConfig(enabled=False),
        telemetry=TelemetryConfig(access_log="off"),
    )


def identity(settings: MeshConfig) -> IdentityStore:
    store = IdentityStore(settings.identity)
    store.load()
    return store


def read(peers: Peers, service: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (peers.directory / service).iterdir() if file.is_file()}


def add_services(peers: Peers, server: Any) -> None:
    """Add the test service, and the stream of the load reports that its clients ask for.

    The generated base class provides the methods that our test service leaves out.
    """
    made = type("Servicer", (TestService, peers.rpc.TestServiceServicer), {})(peers.messages)
    peers.rpc.add_TestServiceServicer_to_server(made, server)
    LoadReportServicer(lambda: made.report, WatcherBudget(8, 8, "load reports")).add_to(server)


@asynccontextmanager
async def mesh_server(peers: Peers) -> AsyncIterator[int]:
    """Run our server with its whole stack, and yield its port."""
    settings = config(peers, "server")
    policy = PolicyStore(settings.authz)
    policy.load()
    store = identity(settings)
    layers = server_layers(settings, Telemetry(settings), policy, None, store)
    server = MeshServer(settings, identity=store, layers=layers, health=HealthServicer())
    add_services(peers, server)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop(0)


@asynccontextmanager
async def bare_server(peers: Peers) -> AsyncIterator[int]:
    server = grpc.aio.server()
    add_services(peers, server)
    files = {
        name: (peers.directory / "server" / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")
    }
    pair = [(files["tls.key"], files["tls.crt"])]
    credentials = grpc.ssl_server_credentials(pair, files["ca.crt"], require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


SERVERS = {"mesh": mesh_server, "bare": bare_server}


def mesh_channel(peers: Peers, port: int) -> grpc.aio.Channel:
    settings = config(peers, "client")
    resolver = StaticResolver([f"127.0.0.1:{port}"])
    return MeshChannel("server", settings, identity=identity(settings), resolver=resolver)


def bare_channel(peers: Peers, port: int) -> grpc.aio.Channel:
    files = {
        name: (peers.directory / "client" / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")
    }
    credentials = grpc.ssl_channel_credentials(files["ca.crt"], files["tls.key"], files["tls.crt"])
    options = [("grpc.ssl_target_name_override", "server")]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options)


CHANNELS = {"mesh": mesh_channel, "bare": bare_channel}
#: The codes with which a call that writes may end at its deadline. Bare grpc.aio also ends it with INTERNAL,
#: where the write fails as the call ends (grpc/grpc#36066), and with CANCELLED, where the server's reset is
#: first.
LATE = {
    "mesh": (grpc.StatusCode.DEADLINE_EXCEEDED,),
    "bare": (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED),
}


@asynccontextmanager
async def go_server(peers: Peers) -> AsyncIterator[int]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        peers.program, "server", peers.directory / "server", stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), TIMEOUT)


@pytest.mark.parametrize("kind", SERVERS)
async def test_the_client_of_grpc_go_at_our_server(peers: Peers, kind: str) -> None:
    async with SERVERS[kind](peers) as port:
        process = await asyncio.create_subprocess_exec(
            *(peers.program, "client", peers.directory / "client", f"127.0.0.1:{port}", "server", *GO_CASES),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT)
    passed = [line for line in out.decode().splitlines() if line in GO_CASES]
    assert passed == GO_CASES, err.decode()[-2000:]
    assert process.returncode == 0


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
@pytest.mark.parametrize("name", [*EMPTY, *CASES])
@pytest.mark.parametrize("kind", CHANNELS)
async def test_our_client_at_the_server_of_grpc_go(
    peers: Peers, kind: str, name: str, compression: grpc.Compression
) -> None:
    async with go_server(peers) as port, CHANNELS[kind](peers, port) as channel:
        stubs = peers.rpc.TestServiceStub(channel), peers.rpc.UnimplementedServiceStub(channel)
        cases = Cases(*stubs, peers.messages, late=LATE[kind], compression=compression)
        await run(cases, name, peers.empty.Empty())


@pytest.mark.parametrize("kind", CHANNELS)
async def test_our_client_on_a_channel_for_each_call(peers: Peers, kind: str) -> None:
    """This is `channel_soak`, with 20 channels and one large call each."""
    async with go_server(peers) as port, AsyncExitStack() as stack:
        for _ in range(20):
            channel = await stack.enter_async_context(CHANNELS[kind](peers, port))
            await Cases(peers.rpc.TestServiceStub(channel), None, peers.messages).large_unary()
