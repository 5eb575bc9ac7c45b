"""`Mesh.sync_channel`: in programs without an event loop, and beside one."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh import Mesh
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.config import AdminConfig, IdentityConfig, MeshConfig
from grpcmesh.identity import IdentityError
from grpcmesh.resolver import StaticResolver
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.serverkit import serve
from tests.integration.sync.test_sync_channel import Threads


@pytest.fixture
def threads(tmp_path: Path) -> Iterator[Threads]:
    made = Threads(tmp_path / "servers")
    write_atomically(tmp_path / "client", made.cluster.ca.issue("client").files())
    yield made
    made.close()


def _mesh(tmp_path: Path) -> Mesh:
    identity = IdentityConfig(directory=tmp_path / "client")
    return Mesh(MeshConfig("client", identity=identity, admin=AdminConfig(address="")))


def _stub(mesh: Mesh, threads: Threads) -> Any:
    resolver = StaticResolver([server.endpoint for server in threads.servers])
    return PingServiceStub(mesh.sync_channel("ping", resolver=resolver))


def _handled(mesh: Mesh) -> float | None:
    labels = {
        "grpc_type": "unary",
        "grpc_service": "mesh.testing.PingService",
        "grpc_method": "Ping",
        "grpc_code": "OK",
    }
    return mesh.telemetry.registry.get_sample_value("grpc_client_handled_total", labels)


def test_the_first_call_starts_the_mesh(tmp_path: Path, threads: Threads) -> None:
    mesh = _mesh(tmp_path)
    before = threading.active_count()
    stub = _stub(mesh, threads)
    assert threading.active_count() == before
    assert stub.Ping(PingRequest(text="x"), timeout=60).text == "x"
    assert mesh.sync_channel("ping") is mesh.sync_channel("ping")
    with pytest.raises(ValueError, match="open already"):
        mesh.sync_channel("ping", options=[("grpc.x", 1)])
    assert _handled(mesh) == 1
    mesh.close()
    mesh.close()
    with pytest.raises(ValueError, match="closed channel"):
        stub.Ping(PingRequest())


def test_a_with_block_says_at_once_what_is_wrong(tmp_path: Path, threads: Threads) -> None:
    with _mesh(tmp_path) as mesh:
        stream = _stub(mesh, threads).Count(PingRequest())
        assert next(stream).number == 1
    assert stream.code() is grpc.StatusCode.CANCELLED
    with pytest.raises(IdentityError), _mesh(tmp_path / "elsewhere"):
        pass


def test_certificates_that_come_later(tmp_path: Path, threads: Threads) -> None:
    mesh = _mesh(tmp_path / "later")
    stub = _stub(mesh, threads)
    with pytest.raises(IdentityError):
        stub.Ping(PingRequest(), timeout=60)
    write_atomically(tmp_path / "later" / "client", threads.cluster.ca.issue("client").files())
    assert stub.Ping(PingRequest(text="x"), timeout=60).text == "x"
    mesh.close()


async def test_beside_an_event_loop_it_uses_that_loop(tmp_path: Path) -> None:
    ca = CertificateAuthority()
    write_atomically(tmp_path / "client", ca.issue("client").files())
    async with serve(tmp_path / "server", ca=ca) as served, _mesh(tmp_path) as mesh:
        channel = mesh.sync_channel("ping", resolver=StaticResolver([served.endpoint]))
        stub: Any = PingServiceStub(channel)
        texts = await asyncio.gather(
            *(asyncio.to_thread(stub.Ping, PingRequest(text=f"{n}"), timeout=60) for n in range(20))
        )
        assert [answer.text for answer in texts] == [f"{n}" for n in range(20)]
        assert channel.host.loop is asyncio.get_running_loop()  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="would block the loop"):
            stub.Ping(PingRequest())
        assert _handled(mesh) == 20


def test_a_mesh_that_a_call_has_started_is_entered_by_no_loop(tmp_path: Path, threads: Threads) -> None:
    mesh = _mesh(tmp_path)
    _stub(mesh, threads).Ping(PingRequest(), timeout=60)

    async def enter() -> None:
        async with mesh:
            pass

    with pytest.raises(RuntimeError, match="has started the mesh already"):
        asyncio.run(enter())
    mesh.close()
