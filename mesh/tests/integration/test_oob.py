"""Load reports, per call and out of band, between the mesh and itself, and with grpc-go and grpc-java."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.balancer import LOAD_KEY, LoadReport, LoadReporter, oob
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import IdentityConfig, MeshConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer
from grpcmesh.service_config import ServiceConfigStore, parse
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from grpcmesh.watchers import WatcherBudget
from tests.integration import gopeer, javapeer
from tests.integration.peers import Peer
from tests.integration.replicas import Cluster, cluster, eventually

#: Weights apply without a blackout period, and are computed ten times a second.
WEIGHTED = {"blackoutPeriod": "0s", "weightUpdatePeriod": "0.1s"}


@given(st.floats(1.0, 3600.0))
def test_an_interval_survives_the_wire(interval: float) -> None:
    assert oob.decode_request(oob.encode_request(interval)) == pytest.approx(interval, abs=1e-6)


@given(st.binary(max_size=40))
def test_any_request_gets_an_interval_within_bounds(data: bytes) -> None:
    assert oob.LEAST_INTERVAL <= oob.decode_request(data) <= 3600


def config(**more: Any) -> Any:
    return {"loadBalancingConfig": [{"weighted_round_robin": {**WEIGHTED, **more}}]}


def store(**more: Any) -> ServiceConfigStore:
    return ServiceConfigStore(code={"ping": parse(json.dumps(config(**more)))})


class Replicas:
    """Mesh servers over mutual TLS. The test sets the cost of their calls."""

    def __init__(self, directory: Path, *costs: float, budget: WatcherBudget | None = None) -> None:
        self.directory, self.ca = directory, CertificateAuthority()
        write_atomically(directory / "client", self.ca.issue("client").files())
        write_atomically(directory / "ping", self.ca.issue("ping").files())
        self.servicers = [PingServicer(f"ping-{i}") for i in range(len(costs))]
        self.servers = [self._server(s, c, budget) for s, c in zip(self.servicers, costs, strict=True)]

    def _server(self, servicer: PingServicer, cost: float, budget: WatcherBudget | None) -> MeshServer:
        reporter = LoadReporter(cpu=lambda: servicer.calls["Ping"] * cost, interval=0.1, budget=budget)
        health = HealthServicer()
        server = MeshServer(
            MeshConfig("ping", address="127.0.0.1:0"),
            identity=self.identity("ping"),
            layers=[reporter],
            health=health,
        )
        add_PingServiceServicer_to_server(servicer, server)
        health.set("", True)
        return server

    def identity(self, name: str) -> IdentityStore:
        identity = IdentityStore(IdentityConfig(self.directory / name))
        identity.load()
        return identity

    @property
    def addresses(self) -> list[str]:
        return [f"127.0.0.1:{server.port}" for server in self.servers]


@asynccontextmanager
async def replicas(directory: Path, *costs: float, **more: Any) -> AsyncIterator[Replicas]:
    made = Replicas(directory, *costs, **more)
    try:
        for server in made.servers:
            await server.start()
        yield made
    finally:
        for server in made.servers:
            await server.stop(0)


@asynccontextmanager
async def calling(
    addresses: list[str], identity: IdentityStore | None, **more: Any
) -> AsyncIterator[MeshChannel]:
    channel = MeshChannel(
        "ping",
        MeshConfig("client"),
        identity=identity,
        resolver=StaticResolver(addresses),
        service_config=store(**more),
    )
    async with channel:
        yield channel


def sources(channel: MeshChannel) -> list[str]:
    return [e["load"].get("source", "") for e in channel.state()["endpoints"]]


def metric(of: Any, name: str, **labels: str) -> float:
    samples = [s for family in of.collect() for s in family.samples if s.name == name]
    return sum(s.value for s in samples if labels.items() <= s.labels.items())


async def shares(channel: MeshChannel, count: int = 100) -> Counter[str]:
    stub = PingServiceStub(channel)
    # Servers in Java take their time for the first handshake.
    calls = (stub.Ping(PingRequest(), timeout=60, wait_for_ready=True) for _ in range(count))
    return Counter([(await call).replica for call in calls])


async def test_out_of_band_reports_of_a_server_of_the_mesh_make_the_weights(tmp_path: Path) -> None:
    async with (
        replicas(tmp_path, 0.001, 0.004) as made,
        calling(
            made.addresses, made.identity("client"), enableOobLoadReport=True, oobReportingPeriod="1s"
        ) as channel,
    ):
        counts: Counter[str] = Counter()
        async with asyncio.timeout(60):
            while not 3 < counts["ping-0"] / max(1, counts["ping-1"]) < 5:
                counts = await shares(channel)
        assert sources(channel) == ["stream", "stream"]
        assert metric(channel, "mesh_load_reports_total", source="stream") >= 2
        assert metric(channel, "mesh_load_reports_total", source="call") == 0
        assert metric(channel, "mesh_endpoint_utilization") > 0
        assert [metric(server, "mesh_load_report_streams") for server in made.servers] == [1, 1]
        # The streams end when they are not wanted any more, and what calls bring counts again.
        channel._configure(store().effective("ping"))
        await eventually(lambda: [metric(s, "mesh_load_report_streams") for s in made.servers] == [0, 0])
        await shares(channel)
        assert sources(channel) == ["call", "call"]


async def test_a_server_without_reports_out_of_band_is_weighed_by_those_of_its_calls(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping:
        for server in ping.servers:
            server.servicer.trailing = ((LOAD_KEY, LoadReport(cpu_utilization=0.5, qps=10).encode()),)
        channel = ping.open(service_config=store(enableOobLoadReport=True, oobReportingPeriod="1s"))
        async with channel:
            await shares(channel, 10)
            assert sources(channel) == ["call", "call"]


async def test_a_stream_that_breaks_is_begun_anew(tmp_path: Path) -> None:
    budget = WatcherBudget(1, 1, "load reports")
    budget.enter("another")
    async with (
        replicas(tmp_path, 0.001, budget=budget) as made,
        calling(made.addresses, made.identity("client"), enableOobLoadReport=True) as channel,
    ):
        async with asyncio.timeout(60):
            while sources(channel) != ["call"]:  # the stream is refused: meanwhile calls bring the reports
                await shares(channel, 10)
        budget.leave("another")
        await eventually(lambda: sources(channel) == ["stream"])


async def peers(stack: AsyncExitStack, peer: Peer, directory: Path, **flags: Any) -> list[str]:
    """Run two servers with a utilization of 0.2 and 0.8."""
    return [
        await stack.enter_async_context(
            peer.serving(certs=directory, replica=f"peer-{i}", utilization=utilization, **flags)
        )
        for i, utilization in enumerate([0.2, 0.8])
    ]


async def weighed(tmp_path: Path, peer: Peer, source: str, flags: dict[str, Any], **more: Any) -> None:
    """Assert that calls to two servers settle at four to one, and that the reports arrive as expected."""
    ping = Cluster(tmp_path / "client")
    write_atomically(tmp_path / "peer", ping.ca.issue("ping").files())
    async with AsyncExitStack() as stack:
        addresses = await peers(stack, peer, tmp_path / "peer", **flags)
        channel = await stack.enter_async_context(calling(addresses, ping.identity, **more))
        counts: Counter[str] = Counter()
        async with asyncio.timeout(60):
            while counts != {"peer-0": 80, "peer-1": 20}:
                counts = await shares(channel)
        assert sources(channel) == [source, source]
    await ping.channel.close()


OUT_OF_BAND = {"enableOobLoadReport": True, "oobReportingPeriod": "1s"}
BOTH = pytest.mark.parametrize(
    "peer", [pytest.param(gopeer.PEER, id="go"), pytest.param(javapeer.PEER, id="java")]
)


@BOTH
async def test_reports_of_other_servers_out_of_band(tmp_path: Path, peer: Peer) -> None:
    await weighed(tmp_path, peer, "stream", {"oob": "true"}, **OUT_OF_BAND)


async def test_reports_of_grpc_java_servers_in_trailers_that_carry_them_for_python_too(
    tmp_path: Path,
) -> None:
    await weighed(tmp_path, javapeer.PEER, "call", {"mesh_load": "true"})


@BOTH
async def test_c_core_keeps_the_reports_in_trailers_of_other_servers_from_python(peer: Peer) -> None:
    """This is why targets with servers in other languages should use out-of-band reports."""
    async with peer.serving(utilization=0.5) as address, grpc.aio.insecure_channel(address) as channel:
        ping: Any = channel.unary_unary("/mesh.testing.PingService/Ping")(b"")
        await ping
        assert "endpoint-load-metrics-bin" not in dict(await ping.trailing_metadata())


@BOTH
@pytest.mark.parametrize("out_of_band", [False, True])
async def test_another_client_weighs_servers_of_the_mesh_by_their_reports(
    tmp_path: Path, out_of_band: bool, peer: Peer
) -> None:
    more = {"enableOobLoadReport": out_of_band, "oobReportingPeriod": "1s"}
    async with replicas(tmp_path, 0.001, 0.004) as made:
        answers = await peer.call(
            *made.addresses, certs=tmp_path / "client", config=config(**more), count=1500, pause="2ms"
        )
        assert {answer["code"] for answer in answers} == {"OK"}
        last = Counter(answer["replica"] for answer in answers[-300:])
        assert 3 < last["ping-0"] / last["ping-1"] < 5
