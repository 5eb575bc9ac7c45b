"""Whom a channel trusts: the SPIFFE id of its target, and certificates for as long as they last. Real TLS."""

import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.ca import write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.client.connection import Connection
from grpcmesh.config import BalancerConfig, IdentityConfig, MeshConfig
from grpcmesh.identity import IdentityStore, Material, server_identity
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests import ports
from tests.identity_cases import ROOT, over
from tests.integration.replicas import cluster, eventually
from tests.integration.serverkit import failure
from tests.pki import DAY, Authority, Pair, malformed_dns, malformed_uri, spiffe_id


class Shown:
    """A certificate in the form that `PingServer` takes."""

    def __init__(self, pair: Pair, bundle: bytes) -> None:
        self.tls_crt, self.tls_key, self.ca_crt = pair.crt, pair.key_pem, bundle


class Caller:
    """A channel to ping, whose clock and certificates a test changes."""

    def __init__(self, directory: Path, *bundle: Authority, **identity: Any) -> None:
        self.ahead, self.directory = 0.0, directory
        self.write(over((bundle or (ROOT,))[0].issue("client", ends=5 * DAY), *bundle))
        config = IdentityConfig(directory, poll_interval=0.02, **identity)
        self.config = MeshConfig("client", identity=config, balancer=BalancerConfig(slow_start=0.0))
        self.identity = IdentityStore(config, clock=lambda: time.time() + self.ahead)
        self.identity.load()
        self.resolver = FakeResolver()
        self.channel = MeshChannel("ping", self.config, identity=self.identity, resolver=self.resolver)
        self.stub = PingServiceStub(self.channel)
        self.servers: list[PingServer] = []

    def write(self, files: Material) -> None:
        names = {"tls.crt": files.cert_chain, "tls.key": files.private_key, "ca.crt": files.ca}
        write_atomically(self.directory, names)

    async def serve(self, shown: Pair, *trusted: Authority) -> PingServer:
        """Start one more server with this certificate."""
        bundle = b"".join(ca.pem for ca in trusted or (ROOT,))
        name = f"ping-{len(self.servers) + 1}"
        server = PingServer(Shown(shown, bundle), name, ports.address())  # type: ignore[arg-type]
        await server.start()
        self.servers.append(server)
        self.resolver.set(*(s.endpoint for s in self.servers))
        return server

    async def ready(self, count: int) -> None:
        """Wait until `count` servers are in rotation."""
        await self.channel.start()
        states = self.channel.state
        await eventually(lambda: [e["state"] for e in states()["endpoints"]].count("ready") == count, 30)

    def refused(self, cause: str) -> float:
        for family in self.channel.collect():
            for sample in family.samples if family.name == "mesh_server_refused" else ():
                if sample.labels["cause"] == cause and sample.name.endswith("_total"):
                    return sample.value
        return 0

    def calls(self) -> int:
        return sum(server.servicer.calls.total() for server in self.servers)


@contextlib.asynccontextmanager
async def calling(directory: Path, *bundle: Authority, **identity: Any) -> AsyncIterator[Caller]:
    caller = Caller(directory, *bundle, **identity)
    try:
        yield caller
    finally:
        await caller.channel.close()
        for server in caller.servers:
            await server.stop()


def text_of(error: grpc.aio.AioRpcError) -> str:
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    return error.details() or ""


async def test_a_server_that_proves_the_targets_id_is_called(tmp_path: Path) -> None:
    async with calling(tmp_path) as caller:
        await caller.serve(ROOT.issue())
        assert (await caller.stub.Ping(PingRequest(text="hi"))).text == "hi"


WRONG = {
    "another workload": ROOT.issue(uris=[spiffe_id("order")]),
    "another namespace": ROOT.issue(uris=[spiffe_id("ping", namespace="other")]),
    "another trust domain": ROOT.issue(uris=[spiffe_id("ping", trust_domain="other")]),
    "no id": ROOT.issue(uris=[]),
    "a second id": ROOT.issue(uris=[spiffe_id("ping"), spiffe_id("order")]),
    "a longer id": ROOT.issue(uris=[spiffe_id("ping-2")]),
    "a shorter id": ROOT.issue(uris=[spiffe_id("pin")]),
    "a wildcard": ROOT.issue(uris=[spiffe_id("*")]),
    "another case": ROOT.issue(uris=[spiffe_id("PING")]),
    "a trailing slash": ROOT.issue(uris=[spiffe_id("ping") + "/"]),
    "percent encoding": ROOT.issue(uris=[spiffe_id("p%69ng")]),
    "the id with a NUL": ROOT.issue(uris=[], names=[malformed_uri(spiffe_id("ping") + "\0.evil")]),
    "the id as a DNS name": ROOT.issue(uris=[], names=[malformed_dns(spiffe_id("ping"))]),
    "a CA": ROOT.issue(ca=True),
}


@pytest.mark.parametrize("shown", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("watch", [True, False], ids=["watched", "unwatched"])
async def test_a_server_that_is_somebody_else_gets_no_payload(
    tmp_path: Path, shown: Pair, watch: bool
) -> None:
    async with calling(tmp_path) as caller:
        health = dataclasses.replace(caller.config.health, watch=watch)
        config = dataclasses.replace(caller.config, health=health)
        channel = MeshChannel("ping", config, identity=caller.identity, resolver=caller.resolver)
        server = await caller.serve(shown)
        async with channel:
            error = await failure(PingServiceStub(channel).Ping(PingRequest(text="secret")))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert not server.servicer.calls
        details = error.details() or ""
        assert spiffe_id("ping") in details or "may sign" in details


#: Cases that gRPC's own comparison accepts. Only the mesh rejects them.
ONLY_OURS = ("a second id", "another case", "the id as a DNS name", "a CA")


@pytest.mark.parametrize("name", [name for name in WRONG if name not in ONLY_OURS])
async def test_grpc_itself_compares_the_id_before_it_sends_a_call(tmp_path: Path, name: str) -> None:
    """A native channel reconnects by itself, so a check by the mesh alone would come too late."""
    async with calling(tmp_path) as caller:
        server = await caller.serve(WRONG[name])
        options = list(server_identity(caller.config, "ping").options.items())
        credentials = caller.identity.current.channel_credentials()
        async with grpc.aio.secure_channel(server.endpoint, credentials, options) as channel:
            error = await failure(PingServiceStub(channel).Ping(PingRequest(text="secret"), timeout=30))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert not server.servicer.calls


async def test_a_refused_server_is_counted_logged_once_and_another_is_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with calling(tmp_path) as caller:
        wrong, right = (
            await caller.serve(ROOT.issue(uris=[spiffe_id("order")])),
            await caller.serve(ROOT.issue()),
        )
        for _ in range(20):
            await caller.stub.Ping(PingRequest())
        await eventually(lambda: caller.refused("wrong_workload") >= 2)
        assert right.servicer.calls["Ping"] == 20
        assert not wrong.servicer.calls
        told = [r.getMessage() for r in caplog.records if "refused" in r.getMessage()]
        assert len(told) == 1
        assert spiffe_id("order") in told[0]


async def test_a_server_that_has_become_the_right_one_is_called(tmp_path: Path) -> None:
    async with calling(tmp_path) as caller:
        server = await caller.serve(ROOT.issue(uris=[spiffe_id("order")]))
        await failure(caller.stub.Ping(PingRequest()))
        await server.stop()
        server._leaf = Shown(ROOT.issue(), ROOT.pem)  # type: ignore[assignment]
        await server.start()
        await caller.stub.Ping(PingRequest(), wait_for_ready=True, timeout=30)


@pytest.mark.parametrize(
    ("expected", "shown", "accepted"),
    [
        (spiffe_id("order"), ROOT.issue(uris=[spiffe_id("order")]), True),
        (spiffe_id("order"), ROOT.issue(), False),
        ("spiffe://bank/payments/live", ROOT.issue(uris=["spiffe://bank/payments/live"]), True),
        ("dns", ROOT.issue(uris=[]), True),
        ("dns", ROOT.issue(uris=["https://api.example.com"]), True),
        ("dns", ROOT.issue(dns=["other"]), False),
    ],
)
async def test_whom_to_expect_is_a_setting_of_the_target(
    tmp_path: Path, expected: str, shown: Pair, accepted: bool
) -> None:
    async with calling(tmp_path, servers={"ping": expected}) as caller:
        await caller.serve(shown)
        if accepted:
            await caller.stub.Ping(PingRequest())
        else:
            text_of(await failure(caller.stub.Ping(PingRequest())))
            assert not caller.calls()


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (ROOT.issue(begins=-2 * DAY, ends=-DAY), "the server's certificate, or a CA above it, has expired"),
        (ROOT.issue(begins=DAY, ends=2 * DAY), "not yet valid"),
        (Authority("foreign").issue(), "of a CA that is not in our bundle"),
        (ROOT.issue(dns=["other"]), "has not the DNS name"),
    ],
)
async def test_the_callers_error_names_the_servers_certificate(
    tmp_path: Path, shown: Pair, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with calling(tmp_path) as caller:
        await caller.serve(shown)
        assert words in text_of(await failure(caller.stub.Ping(PingRequest())))
        assert sum(words in record.getMessage() for record in caplog.records) == 1


async def test_the_callers_error_names_its_own_expired_certificate(tmp_path: Path) -> None:
    async with calling(tmp_path) as caller:
        await caller.serve(ROOT.issue(ends=9 * DAY))
        await caller.stub.Ping(PingRequest())
        caller.ahead = 6 * DAY.total_seconds()
        await eventually(lambda: caller.refused("expired") >= 1, 30)
        assert "our own certificate expired at" in text_of(await failure(caller.stub.Ping(PingRequest())))
        caller.write(over(ROOT.issue("client", ends=9 * DAY)))
        assert caller.identity.poll()
        await caller.stub.Ping(PingRequest(), wait_for_ready=True, timeout=30)


async def test_a_server_whose_certificate_has_expired_is_cut_off_and_connected_anew(tmp_path: Path) -> None:
    async with calling(tmp_path) as caller:
        server = await caller.serve(ROOT.issue(ends=2 * DAY))
        stream = caller.stub.Count(PingRequest(delay=0.05))
        await stream.read()
        caller.ahead = 3 * DAY.total_seconds()
        error = await failure(_read_all(stream))
        assert "the server's certificate expired at" in text_of(error)
        before = server.servicer.calls["Ping"]
        assert "the server's certificate expired at" in text_of(
            await failure(caller.stub.Ping(PingRequest()))
        )
        assert server.servicer.calls["Ping"] == before


async def test_a_server_whose_ca_has_left_the_bundle_is_cut_off(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    async with calling(tmp_path, new, old) as caller:
        await caller.serve(old.issue(), new, old)
        kept = await caller.serve(new.issue(), new, old)
        await caller.ready(2)
        streams = [caller.stub.Count(PingRequest(delay=0.05)) for _ in range(8)]
        answers = [(await stream.read()).replica for stream in streams]
        assert set(answers) == {"ping-1", "ping-2"}

        caller.write(over(new.issue("client", ends=5 * DAY), new))
        assert caller.identity.poll()
        for stream, replica in zip(streams, answers, strict=True):
            if replica == "ping-1":
                error = await failure(_read_all(stream))
                assert "has left our bundle" in text_of(error)
            else:
                assert (await stream.read()).replica == replica
        before = kept.servicer.calls["Ping"]
        for _ in range(10):
            await caller.stub.Ping(PingRequest(), wait_for_ready=True, timeout=30)
        assert kept.servicer.calls["Ping"] == before + 10


async def _read_all(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_a_refused_connection_that_cannot_be_closed_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse, failures = Connection.refuse, [RuntimeError("oh")]

    async def failing(connection: Connection, reason: str) -> None:
        if failures:
            raise failures.pop()
        await refuse(connection, reason)

    monkeypatch.setattr(Connection, "refuse", failing)
    async with cluster(tmp_path, 1) as ping:
        pool = ping.channel._core.pool
        (slot,) = pool._slots.values()
        before = slot.machine.current
        pool._refuse(slot, before, "for a test")
        await eventually(lambda: slot.machine.current is not before)
        await ping.ready(1)
        await ping.stub.Ping(PingRequest())
        (restarts,) = [f for f in ping.channel.collect() if f.name == "mesh_task_restarts"]
        assert {s.labels["task"]: s.value for s in restarts.samples}["refused connection"] == 1
