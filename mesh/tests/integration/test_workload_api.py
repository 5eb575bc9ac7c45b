"""Certificates from the SPIFFE Workload API: rotation under calls, failures, other trust domains."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh import Mesh
from grpcmesh.commands.doctor.examination import Examination, Request
from grpcmesh.commands.doctor.findings import Finding
from grpcmesh.commands.doctor.rules import findings
from grpcmesh.config import ConfigError, MeshConfig
from grpcmesh.identity import IdentityError, IdentityStore
from grpcmesh.identity.workload_api import WorkloadApi
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from tests.integration.serverkit import failure, until
from tests.integration.spire import Agent, agent, svid
from tests.pki import Authority
from tests.ports import free_port

CA, PARTNER = Authority("spire"), Authority("partner")
WEB, PING = "spiffe://example.org/web/frontend", "spiffe://example.org/region/eu/ping"
BUYER = "spiffe://partner.example/shop/buyer"
DNS = "ping.default.svc.cluster.local"
#: Seconds that a call may take: machines are shared.
PATIENCE = 60.0
POLICY = """
[[allow]]
from = ["spiffe://example.org/web/*", "spiffe://partner.example/shop/**"]
methods = ["mesh.testing.PingService/*"]
[users]
"mesh.testing.PingService/*" = "anyone"
"""


def identity(uri: str, authority: Authority = CA, bundle: Authority = CA, **more: Any) -> Any:
    return svid(authority.issue("ping", uris=[uri], **more), bundle, uri)


class Kit:
    """Agents and settings of workloads on one machine."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        (directory / "policy.toml").write_text(POLICY)

    def mesh(self, agent: Agent, uri: str, **more: str) -> Mesh:
        environ = {
            "SPIFFE_ENDPOINT_SOCKET": agent.socket,
            "MESH_IDENTITY_TRUST_DOMAIN": uri.split("/")[2],
            "MESH_IDENTITY_SPIFFE_ID": uri,
            "MESH_IDENTITY_POLL_INTERVAL": "0.02",
            "MESH_AUTHZ_POLICY_FILE": str(self.directory / "policy.toml"),
            "MESH_ADDRESS": f"127.0.0.1:{self.port}",
            "MESH_HEALTH_ADDRESS": "",
            "MESH_ADMIN_ADDRESS": "",
            "MESH_ADMISSION_ENABLED": "false",
            "MESH_TARGETS": f"ping=static:///127.0.0.1:{self.port}",
            "MESH_IDENTITY_SERVERS": "ping=spiffe://example.org/region/*/ping",
            **more,
        }
        return Mesh.from_env("ping", environ)

    @contextlib.asynccontextmanager
    async def server(self, agent: Agent, uri: str = PING) -> AsyncIterator[Mesh]:
        async with self.mesh(agent, uri) as mesh:
            server = mesh.server()
            add_PingServiceServicer_to_server(PingServicer("ping-1"), server)
            serving = asyncio.create_task(mesh.serve(server, signals=False))
            try:
                yield mesh
            finally:
                mesh.stop()
                await serving


@pytest.fixture
async def agents(tmp_path: Path) -> AsyncIterator[tuple[Agent, Agent]]:
    """One agent for the server, and one for its client."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    async with agent(tmp_path / "a") as a, agent(tmp_path / "b") as b:
        yield a, b


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


def store(mesh: Mesh) -> IdentityStore:
    found = mesh._member.identity
    assert found is not None
    return found


async def ping(mesh: Mesh) -> str:
    stub = PingServiceStub(mesh.channel("ping"))
    return (await stub.Ping(PingRequest(), timeout=PATIENCE, wait_for_ready=True)).replica


async def test_identities_of_any_path_come_from_the_socket_and_rotate_without_failed_calls(
    agents: tuple[Agent, Agent], kit: Kit
) -> None:
    a, b = agents
    a.send(identity(PING))
    b.send(identity(WEB))
    async with kit.server(a) as server, kit.mesh(b, WEB) as client:
        assert await ping(client) == "ping-1"
        assert b.opened[0]["workload.spiffe.io"] == "true"
        for _ in range(3):
            serials = {store(server).current.serial, store(client).current.serial}
            a.send(identity(PING))
            b.send(identity(WEB))
            while serials & {store(server).current.serial, store(client).current.serial}:
                assert await ping(client) == "ping-1"
        assert await ping(client) == "ping-1"


async def test_the_last_good_identity_stays_while_the_agent_is_gone_or_talks_nonsense(
    agents: tuple[Agent, Agent], kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = agents
    a.send(identity(PING))
    b.send(identity(WEB))
    async with kit.server(a), kit.mesh(b, WEB) as client:
        good = store(client).current.serial
        api = store(client).workload_api
        assert api is not None
        good_svid = identity(WEB)
        for change in (
            {"x509_svid": b"\x30\x82\xff\xff!"},
            {"x509_svid_key": b"x"},
            {"bundle": b""},
            {"x509_svid": b""},
        ):
            bad = type(good_svid)()
            bad.CopyFrom(good_svid)
            for name, value in change.items():
                setattr(bad, name, value)
            seen = len(caplog.records)
            b.send(bad)
            await until(lambda seen=seen: len(caplog.records) > seen)  # type: ignore[misc]
            assert store(client).current.serial == good
        b.fail(grpc.StatusCode.PERMISSION_DENIED)
        await until(lambda: "PERMISSION_DENIED: no identity issued" in api.problem)
        assert await ping(client) == "ping-1"
        renewed = identity(WEB)
        b.send(renewed)
        await until(lambda: store(client).current.serial != good)
        assert await ping(client) == "ping-1"
        assert api.problem == ""


async def test_a_workload_of_a_federated_domain_is_served_and_its_ca_cannot_be_us(
    agents: tuple[Agent, Agent], kit: Kit
) -> None:
    a, b = agents
    a.send(identity(PING), federated={"partner.example": PARTNER, "example.org": PARTNER})
    b.send(identity(BUYER, PARTNER, PARTNER), federated={"example.org": CA})
    async with kit.server(a):
        async with kit.mesh(b, BUYER) as partner:
            assert await ping(partner) == "ping-1"
        # The partner's CA issues an identity of our domain. Its own process would trust it.
        b.send(identity(WEB, PARTNER, CA))
        forged = PARTNER.issue("ping", uris=[WEB])
        credentials = grpc.ssl_channel_credentials(CA.pem, forged.key_pem, forged.crt)
        options = (("grpc.ssl_target_name_override", "ping"), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.secure_channel(f"127.0.0.1:{kit.port}", credentials, options) as channel:
            error = await failure(PingServiceStub(channel).Ping(PingRequest(), timeout=PATIENCE))
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_client_does_not_accept_a_server_of_our_domain_from_a_foreign_ca(
    agents: tuple[Agent, Agent], kit: Kit
) -> None:
    a, b = agents
    a.send(identity(PING))
    b.send(identity(WEB), federated={"partner.example": PARTNER})
    forged = PARTNER.issue("ping", uris=[PING])
    server = grpc.aio.server()
    servicer = PingServicer("forged")
    add_PingServiceServicer_to_server(servicer, server)
    credentials = grpc.ssl_server_credentials([(forged.key_pem, forged.crt)])
    server.add_secure_port(f"127.0.0.1:{kit.port}", credentials)
    await server.start()
    try:
        async with kit.mesh(b, WEB) as client:
            stub = PingServiceStub(client.channel("ping"))
            error = await failure(stub.Ping(PingRequest(), timeout=PATIENCE))
            assert error.code() == grpc.StatusCode.UNAVAILABLE
            assert "not in our bundle" in str(error.details())
    finally:
        await server.stop(0)


async def test_a_server_whose_id_is_not_of_the_pattern_gets_no_call(
    agents: tuple[Agent, Agent], kit: Kit
) -> None:
    a, b = agents
    other = "spiffe://example.org/region/eu/pong"
    a.send(identity(other))
    b.send(identity(WEB))
    async with kit.server(a, other) as server, kit.mesh(b, WEB) as client:
        error = await failure(PingServiceStub(client.channel("ping")).Ping(PingRequest(), timeout=PATIENCE))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert f"the server is {other}" in str(error.details())
        assert server.config.service == "ping"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (identity("spiffe://example.org/other"), "is of spiffe://example.org/other, and this process is"),
        (identity(WEB, Authority("elsewhere")), "neither in ca.crt nor an intermediate"),
    ],
    ids=["another", "another CA"],
)
async def test_the_start_says_what_is_wrong(
    agents: tuple[Agent, Agent], kit: Kit, given: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpcmesh.member.FIRST_IDENTITY_TIMEOUT", PATIENCE)
    agents[0].send(given)
    with pytest.raises(IdentityError, match=message):
        async with kit.mesh(agents[0], WEB):
            raise AssertionError("it has started")


async def told(api: WorkloadApi) -> str:
    """Return what the start says when the time is over."""
    trying = asyncio.create_task(api.first(PATIENCE))
    await until(lambda: api.problem)
    trying.cancel()
    await asyncio.wait([trying])
    with pytest.raises(IdentityError) as e:
        await api.first(0.01)
    assert e.value.__context__ is None  # nobody wants to read of the timeout that ended the wait
    return str(e.value)


async def test_a_workload_without_an_entry_is_told(agents: tuple[Agent, Agent]) -> None:
    agents[0].send()
    text = await told(WorkloadApi(agents[0].socket, WEB))
    assert "has no identity for this workload: register an entry for it" in text


async def test_a_refusal_says_what_to_do(agents: tuple[Agent, Agent]) -> None:
    agents[0].fail(grpc.StatusCode.PERMISSION_DENIED)  # as SPIRE does without an entry
    text = await told(WorkloadApi(agents[0].socket, WEB))
    assert text.endswith("PERMISSION_DENIED: no identity issued: register an entry for this workload")


async def test_the_identity_that_is_expected_is_taken_of_several(agents: tuple[Agent, Agent]) -> None:
    agents[0].send(identity("spiffe://example.org/other"), identity(WEB))
    api = WorkloadApi(agents[0].socket, "spiffe://example.org/web/*")
    await api.first(PATIENCE)
    config = MeshConfig.from_env({"MESH_IDENTITY_TRUST_DOMAIN": "example.org"}, service="ping")
    made = IdentityStore(config.identity, source=api.material)
    made.load()
    assert str(made.current.workload) == WEB


@pytest.mark.parametrize("answer", [b"\xff" * 9, b"", b"\x0a\x02\x0a\xff", b"\x0a\x05\x0a\x03\xff\xfe\xfd"])
async def test_an_answer_that_is_no_identity_is_told(tmp_path: Path, answer: bytes) -> None:
    async def send(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield answer

    handlers = {"FetchX509SVID": grpc.unary_stream_rpc_method_handler(send)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", handlers),))
    server.add_insecure_port(f"unix://{tmp_path}/agent.sock")
    await server.start()
    try:
        assert "gave no identity" in await told(WorkloadApi(f"unix://{tmp_path}/agent.sock", WEB))
    finally:
        await server.stop(0)


async def test_the_doctor_asks_the_socket(agents: tuple[Agent, Agent], kit: Kit) -> None:
    agents[0].send(identity(WEB))
    config = kit.mesh(agents[0], WEB, MESH_AUTHZ_POLICY_FILE="").config

    async def check(timeout: float) -> dict[str, Finding]:
        facts = await Examination(Request(config, timeout=timeout), {}).collect()
        return {finding.cause: finding for finding in findings(facts)}

    assert await check(5 * PATIENCE) == {}
    agents[0].fail(grpc.StatusCode.PERMISSION_DENIED)
    found = await check(1.0)
    assert found.keys() == {"certificate_unreadable"}
    assert "registration entry" in found["certificate_unreadable"].remedy


async def test_an_agent_that_is_not_there_is_told(tmp_path: Path) -> None:
    text = await told(WorkloadApi(f"unix://{tmp_path}/none.sock", WEB))
    assert "none.sock gave no identity: UNAVAILABLE" in text


def test_plaintext_is_refused_where_there_is_a_socket(tmp_path: Path) -> None:
    environ = {
        "SPIFFE_ENDPOINT_SOCKET": "unix:///run/agent.sock",
        "MESH_PLAINTEXT": "true",
        "MESH_ADMIN_ADDRESS": "",
        "MESH_IDENTITY_DIRECTORY": str(tmp_path),
    }

    async def start() -> None:
        async with Mesh.from_env("ping", environ):
            raise AssertionError("it has started")

    with pytest.raises(ConfigError, match=r"SPIFFE Workload API \(unix:///run/agent.sock\): unset it"):
        asyncio.run(start())


@pytest.mark.parametrize(
    ("environ", "socket"),
    [
        ({"SPIFFE_ENDPOINT_SOCKET": "unix:///a"}, "unix:///a"),
        ({"SPIFFE_ENDPOINT_SOCKET": "unix:///a", "MESH_IDENTITY_ENDPOINT_SOCKET": "unix:///b"}, "unix:///b"),
        ({"SPIFFE_ENDPOINT_SOCKET": "unix:///a", "MESH_IDENTITY_DIRECTORY": "/certs"}, ""),
        ({}, ""),
    ],
)
def test_the_socket_is_found_as_spiffe_says(environ: dict[str, str], socket: str) -> None:
    assert MeshConfig.from_env(environ, service="ping").identity.endpoint_socket == socket
