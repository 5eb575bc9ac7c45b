"""Both halves together: mesh channels, mesh servers, users' tokens, a member and its page."""

import asyncio
import contextlib
import dataclasses
import json
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grpcmesh.auth import StaticKeys, TokenIssuer
from grpcmesh.balancer import LOAD_KEY, LoadReport
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.call import ClientLayer
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import AdminConfig, BalancerConfig, IdentityConfig, MeshConfig, TelemetryConfig
from grpcmesh.identity import IdentityStore
from grpcmesh.member import Member
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests.integration.serverkit import Served, failure, serve, until
from tests.ports import free_port


@contextlib.asynccontextmanager
async def replicas(directory: Path, count: int) -> AsyncIterator[list[Served]]:
    """Run servers of one CA, each of which knows its name."""
    ca = CertificateAuthority()
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for number in range(1, count + 1):
            own = directory / str(number)
            own.mkdir()
            servicer = PingServicer(f"ping-{number}")
            served = await stack.enter_async_context(serve(own, servicer, delay=2, ca=ca))
            made.append(served)
        yield made


def identity(directory: Path, ca: CertificateAuthority, service: str = "client") -> IdentityStore:
    write_atomically(directory, ca.issue(service).files())
    store = IdentityStore(IdentityConfig(directory))
    store.load()
    return store


async def test_replicas_that_drain_one_after_the_other_fail_no_call(tmp_path: Path) -> None:
    """Poke is not idempotent and is not retried, so any call that hits a draining replica would fail."""
    async with replicas(tmp_path, 3) as servers:
        config = MeshConfig("client", balancer=BalancerConfig(slow_start=0))
        resolver = FakeResolver()
        resolver.set(*(s.endpoint for s in servers))
        store = identity(tmp_path / "client", servers[0].ca)
        async with MeshChannel("ping", config, identity=store, resolver=resolver) as channel:
            stub, done, answered = PingServiceStub(channel), asyncio.Event(), Counter[str]()

            async def keep_calling() -> None:
                while not done.is_set():
                    answered[(await stub.Poke(PingRequest(delay=0.002))).replica] += 1

            callers = [asyncio.create_task(keep_calling()) for _ in range(8)]
            await until(lambda: len(answered) == 3)
            for leaving in servers[:2]:
                await leaving.server.drain()
                resolver.set(servers[2].endpoint)
            before = answered["ping-3"]
            await until(lambda: answered["ping-3"] > before + 50)
            done.set()
            await asyncio.gather(*callers)
            assert answered.total() == sum(s.servicer.calls["Poke"] for s in servers)


USERS = """
[[allow]]
from = ["client"]
methods = ["mesh.testing.PingService/*"]
[users]
"mesh.testing.PingService/Ping" = "anyone"
"mesh.testing.PingService/Count" = ["admin"]
"""


@pytest.mark.parametrize(
    ("method", "roles", "code"),
    [
        ("Ping", None, "OK"),
        ("Ping", ["user"], "OK"),
        ("Poke", None, "UNAUTHENTICATED"),
        ("Poke", ["user"], "OK"),
        ("Count", None, "UNAUTHENTICATED"),
        ("Count", ["user"], "PERMISSION_DENIED"),
        ("Count", ["user", "admin"], "OK"),
    ],
)
async def test_what_a_method_needs_of_its_user_is_enforced(
    tmp_path: Path, method: str, roles: list[str] | None, code: str
) -> None:
    key = Ed25519PrivateKey.generate()
    async with serve(tmp_path) as served, served.channel() as channel:
        served.write_policy(USERS)
        served.policy.poll()
        served.verifier.source = StaticKeys({"k1": key.public_key()})
        await served.verifier.refresh()
        issuer = TokenIssuer(key, "k1", served.config.auth)
        token = issuer.issue(1, "alice", roles, 60) if roles else None
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        stub = PingServiceStub(channel)
        if method == "Count":
            call = stub.Count(PingRequest(count=1), metadata=metadata)
            user = "" if code != "OK" else (await call.read()).user
            got = await call.code()
        else:
            single = getattr(stub, method)(PingRequest(), metadata=metadata)
            got = await single.code()
            user = (await single).user if got is grpc.StatusCode.OK else ""
        assert got.name == code
        assert user == ("alice" if roles and code == "OK" else "")


async def test_a_bad_token_is_unauthenticated_even_where_none_is_needed(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        served.verifier.source = StaticKeys({})
        await served.verifier.refresh()
        error = await failure(
            PingServiceStub(channel).Ping(PingRequest(), metadata=(("authorization", "Bearer x.y.z"),))
        )
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_that_cannot_be_verified_yet_may_be_tried_again(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        served.verifier.source = StaticKeys({})
        error = await failure(
            PingServiceStub(channel).Ping(PingRequest(), metadata=(("authorization", "Bearer x.y.z"),))
        )
        assert error.code() is grpc.StatusCode.UNAVAILABLE


def member_config(directory: Path) -> MeshConfig:
    return MeshConfig(
        "client",
        replica="client-1",
        admin=AdminConfig(f"127.0.0.1:{free_port()}"),
        identity=IdentityConfig(directory),
    )


async def test_a_member_has_a_page_with_its_targets_and_its_certificate(tmp_path: Path) -> None:
    write_atomically(tmp_path, CertificateAuthority().issue("client").files())
    async with Member(member_config(tmp_path)) as member:
        assert member.channel("ping") is member.channel("ping")
        address = member.config.admin.address

        def get(path: str) -> bytes:
            with urllib.request.urlopen(f"http://{address}{path}") as response:
                data: bytes = response.read()
                return data

        state = json.loads(await asyncio.to_thread(get, "/state.json"))
        assert [t["target"] for t in state["targets"]] == ["ping"]
        assert state["certificate"]["workload"].endswith("/sa/client")
        assert b"mesh_certificate_expiry_timestamp_seconds" in await asyncio.to_thread(get, "/metrics")
        assert b"client-1" in await asyncio.to_thread(get, "/")


async def test_a_member_says_its_settings_and_those_of_its_targets(tmp_path: Path) -> None:
    write_atomically(tmp_path, CertificateAuthority().issue("client").files())
    environ = {
        "MESH_IDENTITY_DIRECTORY": str(tmp_path),
        "MESH_RESOLVER_PORT": "50061",
        "MESH_TELEMETRY_OTLP_ENDPOINT": "https://user:s3cret@collector:4317",
        "MESH_SERVICE_CONFIG_INLINE": '{"ping": {"methodConfig": [{"name": [{}], "timeout": "1.5s"}]}}',
    }
    async with Member(MeshConfig.from_env(environ, service="client"), sockets=False) as member:
        member.channel("ping")
        told = member.settings()
    own, ping = ({s["name"]: (s["value"], s["source"]) for s in told[name]} for name in ("", "ping"))
    assert own["MESH_RESOLVER_PORT"] == ("50061", "environment")
    assert own["MESH_RESOLVER_TIMEOUT"][1] == "default"
    assert own["MESH_TELEMETRY_OTLP_ENDPOINT"] == ("https://[redacted]@collector:4317", "environment")
    assert ping["ping: port"] == ("50061", "MESH_RESOLVER_PORT")
    assert any(source == "MESH_SERVICE_CONFIG_INLINE" for _, source in ping.values())


async def test_a_member_without_sockets_opens_no_port(tmp_path: Path) -> None:
    write_atomically(tmp_path, CertificateAuthority().issue("client").files())
    config = member_config(tmp_path)
    async with Member(config, sockets=False) as member:
        assert member.admin is None
        with pytest.raises(OSError, match="Connect"):
            await asyncio.open_connection("127.0.0.1", int(config.admin.address.rpartition(":")[2]))


async def test_a_members_tasks_end_with_it_and_a_failure_is_remembered(tmp_path: Path) -> None:
    write_atomically(tmp_path, CertificateAuthority().issue("client").files())
    async with Member(member_config(tmp_path), sockets=False) as member:
        forever = member.spawn(asyncio.Event().wait())

        async def fail() -> None:
            raise RuntimeError("oh")

        member.spawn(fail())
        assert str(await asyncio.wait_for(member.tasks.failed(), 60)) == "oh"
        assert not forever.done()
    assert forever.cancelled()


async def test_a_member_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    write_atomically(tmp_path, CertificateAuthority().issue("client").files())
    config = member_config(tmp_path)
    async with Member(config):
        other = Member(dataclasses.replace(config, replica="client-2"))
        with pytest.raises(OSError, match="in use"):
            await other.__aenter__()
        assert len(asyncio.all_tasks()) < 10


async def test_a_server_tells_its_load_and_the_weighted_balancer_reads_it(tmp_path: Path) -> None:
    telemetry = TelemetryConfig(load_report_interval=0.05)
    ca = CertificateAuthority()
    async with serve(tmp_path, PingServicer("ping-1"), ca=ca, telemetry=telemetry) as server:
        config = MeshConfig("client", balancer=BalancerConfig("weighted_round_robin", slow_start=0))
        resolver = FakeResolver()
        resolver.set(server.endpoint)
        store = identity(tmp_path / "client", ca)
        async with MeshChannel("ping", config, identity=store, resolver=resolver) as channel:
            stub, reports = PingServiceStub(channel), []
            async with asyncio.timeout(60):
                while not reports or not reports[-1].qps:
                    call = stub.Ping(PingRequest())
                    await call
                    trailing = [*await call.trailing_metadata()]
                    assert [k for k, _ in trailing].count("mesh-replica") == 1
                    reports += [LoadReport.decode(v) for k, v in trailing if k == LOAD_KEY]
            assert reports[-1].cpu_utilization > 0
            assert reports[-1].weight() > 0


async def test_a_members_channel_takes_what_a_channel_takes_when_it_is_opened(tmp_path: Path) -> None:
    write_atomically(tmp_path, CertificateAuthority().issue("client").files())
    layer = ClientLayer()
    async with Member(member_config(tmp_path), sockets=False) as member:
        channel = member.channel("ping", layers=[layer], options=[("grpc.max_receive_message_length", 100)])
        assert layer in channel._core.layers
        assert member.channel("ping") is channel
        with pytest.raises(ValueError, match="layers would be ignored"):
            member.channel("ping", layers=[layer])
