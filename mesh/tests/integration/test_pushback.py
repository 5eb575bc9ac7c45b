"""`grpc-retry-pushback-ms` (gRFC A6) in both directions, between two meshes and with grpc-go."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.admission import AdmissionLayer
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import AdmissionConfig, ChannelConfig, IdentityConfig, MeshConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer
from grpcmesh.service_config import ServiceConfigStore, parse
from grpcmesh.testing.ping import PingServer, PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from tests.integration import gopeer
from tests.integration.replicas import eventually

NAME = [{"service": "mesh.testing.PingService", "method": "Ping"}]
RETRY = {"retryPolicy": {
    "maxAttempts": 3, "initialBackoff": "0.001s", "maxBackoff": "0.001s", "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}}  # fmt: skip
HEDGE = {"hedgingPolicy": {
    "maxAttempts": 3, "hedgingDelay": "3600s", "nonFatalStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}}  # fmt: skip

#: A server's pushback, the number of attempts that follow from it, and the least seconds that they take.
TABLE = [
    ("", 3, 0.0),
    ("0", 3, 0.0),
    ("150", 3, 0.3),
    ("-1", 1, 0.0),
    ("-9223372036854775808", 1, 0.0),
    ("abc", 1, 0.0),
    ("1.5", 1, 0.0),
    ("99999999999", 1, 0.0),
]


def config(policy: dict[str, Any]) -> Any:
    return {"methodConfig": [{"name": NAME, **policy}]}


def failing(pushback: str, code: str = "UNAVAILABLE") -> PingRequest:
    return PingRequest(fail_code=code, pushback=pushback)


@asynccontextmanager
async def calling(address: str, policy: dict[str, Any], **more: Any) -> AsyncIterator[PingServiceStub]:
    store = ServiceConfigStore(code={"ping": parse(json.dumps(config(policy)))})
    channel = MeshChannel(
        "ping",
        MeshConfig("client", channel=ChannelConfig(overload_ratio=0)),  # else calls are refused here already
        **{"identity": None, "resolver": StaticResolver([address]), "service_config": store, **more},
    )
    async with channel:
        yield PingServiceStub(channel)


async def outcome(stub: PingServiceStub, request: PingRequest) -> tuple[int, float]:
    """Return the number of the call's attempts and the seconds that it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    call = stub.Ping(request, timeout=60)
    assert await call.code() is not grpc.StatusCode.OK
    return call.attempts, loop.time() - started


@pytest.mark.parametrize("policy", [RETRY, HEDGE], ids=["retry", "hedge"])
@pytest.mark.parametrize(("pushback", "attempts", "least"), TABLE)
async def test_pushback_of_a_python_server(
    policy: dict[str, Any], pushback: str, attempts: int, least: float
) -> None:
    async with PingServer(None) as server, calling(server.endpoint, policy) as stub:
        made, took = await outcome(stub, failing(pushback))
        assert made == server.servicer.calls["Ping"] == attempts
        assert took >= least


@pytest.mark.parametrize("policy", [RETRY, HEDGE], ids=["retry", "hedge"])
@pytest.mark.parametrize(("pushback", "attempts", "least"), TABLE)
async def test_pushback_of_a_grpc_go_server(
    policy: dict[str, Any], pushback: str, attempts: int, least: float
) -> None:
    async with gopeer.serving() as address, calling(address, policy) as stub:
        made, took = await outcome(stub, failing(pushback))
        assert made == attempts
        assert took >= least


class Served:
    """A server of the mesh over mutual TLS, which runs one call at a time."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.servicer = directory, PingServicer()
        ca, health = CertificateAuthority(), HealthServicer()
        for name in ("client", "ping"):
            write_atomically(directory / name, ca.issue(name).files())
        admission = AdmissionConfig(min_calls=1, max_calls=1, target_age=0)
        layers = [AdmissionLayer(admission, 1 << 20)]
        self.server = MeshServer(
            MeshConfig("ping", address="127.0.0.1:0"),
            identity=self.identity("ping"),
            layers=layers,
            health=health,
        )
        add_PingServiceServicer_to_server(self.servicer, self.server)
        health.set("", True)

    def identity(self, name: str) -> IdentityStore:
        store = IdentityStore(IdentityConfig(self.directory / name))
        store.load()
        return store

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def refused(self) -> int:
        state: Any = self.server.state()["admission"]
        return int(state["refused"]["concurrency"])


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    made = Served(tmp_path)
    await made.server.start()
    yield made
    await made.server.stop(0)


@pytest.mark.parametrize(
    ("pushback", "attempts", "least"),
    [row for row in TABLE if row[0] != "99999999999"],  # Go reads 64 bits, and waits for three years
)
async def test_a_grpc_go_client_heeds_pushback_of_a_server_of_the_mesh(
    served: Served, pushback: str, attempts: int, least: float
) -> None:
    [answer] = await gopeer.call(
        served.address,
        certs=served.directory / "client",
        config=config(RETRY),
        request=failing(pushback).SerializeToString(),
    )
    assert answer["code"] == "Unavailable"
    assert served.servicer.calls["Ping"] == attempts
    assert answer["milliseconds"] >= least * 1000


async def occupied(served: Served, stub: PingServiceStub) -> "asyncio.Future[Any]":
    """Make a call that holds the only permit until it is cancelled."""
    call = asyncio.ensure_future(stub.Ping(PingRequest(delay=3600), timeout=600))
    await eventually(lambda: served.servicer.running == 1)
    return call


async def test_a_refusal_of_admission_makes_clients_wait_here_and_in_go(served: Served) -> None:
    """Both clients are refused with a pushback of 100 ms while the only permit is taken."""
    identity = served.identity("client")
    five = {"retryPolicy": {**RETRY["retryPolicy"], "maxAttempts": 5}}
    async with calling(served.address, five, identity=identity) as stub:
        holding = await occupied(served, stub)
        refused = stub.Ping(PingRequest(), timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await refused
        assert e.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert dict(e.value.trailing_metadata())["grpc-retry-pushback-ms"] == "100"
        assert refused.attempts == served.refused() == 5
        [answer] = await gopeer.call(served.address, certs=served.directory / "client", config=config(five))
        assert (answer["code"], served.refused()) == ("ResourceExhausted", 10)
        assert answer["milliseconds"] >= 400
        holding.cancel()
        await eventually(lambda: served.server.state()["admission"]["in_flight"] == 0)
        [answer] = await gopeer.call(served.address, certs=served.directory / "client")
        assert answer["code"] == "OK"
