"""`python -m grpcmesh check`: each cause is made to happen, with real servers, certificates and DNS."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.ca import write_atomically
from grpcmesh.commands.doctor.examination import Examination, Request
from grpcmesh.commands.doctor.facts import Facts
from grpcmesh.commands.doctor.findings import Finding
from grpcmesh.commands.doctor.rules import findings
from grpcmesh.config import MeshConfig
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.dnskit import NAME
from tests.integration.checkkit import PATIENCE, Workload, workloads
from tests.integration.idp import provider
from tests.integration.serverkit import CHANNEL_OPTIONS, POLICY, failure, serve, until
from tests.integration.test_runtime import Process, process
from tests.ports import free_port

METHOD = "mesh.testing.PingService/Ping"


@pytest.fixture
async def workload(tmp_path: Path) -> AsyncIterator[Workload]:
    async with workloads(tmp_path) as made:
        yield made


async def test_nothing_is_found_where_all_is_well(workload: Workload) -> None:
    assert await workload.check(methods=(METHOD,)) == {}
    assert not workload.served.servicer.calls  # type: ignore[attr-defined] - the method has not run


async def test_a_name_that_does_not_exist(workload: Workload) -> None:
    found = await workload.check("pong")
    assert found.keys() == {"name_not_found"}
    assert "pong.default.svc.cluster.local does not exist" in found["name_not_found"].problem


async def test_a_name_without_addresses(workload: Workload) -> None:
    workload.dns.records[NAME, "TXT"] = ['"x"']
    del workload.dns.records[NAME, "A"]
    assert (await workload.check()).keys() == {"no_addresses"}


async def test_a_nameserver_that_does_not_answer(workload: Workload) -> None:
    workload.dns.silent = True
    found = await workload.check(MESH_RESOLVER_TIMEOUT="0.3", MESH_RESOLVER_TRY_INTERVAL="0.1")
    assert found.keys() == {"dns_unreachable"}


async def test_a_service_that_is_not_headless_by_its_name_in_dns(workload: Workload) -> None:
    workload.dns.records["1.0.0.127.in-addr.arpa.", "PTR"] = [NAME]
    found = await workload.check()
    assert found.keys() == {"not_headless"}
    assert "127.0.0.1, is a cluster IP" in found["not_headless"].problem


async def test_a_service_that_is_not_headless_by_the_environment(workload: Workload) -> None:
    assert (await workload.check(PING_SERVICE_HOST="127.0.0.1")).keys() == {"not_headless"}


async def test_one_pod_of_a_headless_service_is_no_cluster_ip(workload: Workload) -> None:
    workload.dns.records["1.0.0.127.in-addr.arpa.", "PTR"] = [f"127-0-0-1.{NAME}"]
    assert await workload.check() == {}


async def test_a_closed_port(workload: Workload) -> None:
    port = free_port()
    found = await workload.check(MESH_RESOLVER_PORT=str(port))
    assert found.keys() == {"port_closed"}
    assert found["port_closed"].problem == f"127.0.0.1:{port} refuses connections: nothing listens there"


async def test_a_server_that_speaks_no_tls_and_one_that_says_nothing(workload: Workload) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for handler, timeout, told in (
        (plain, PATIENCE, "does not speak TLS"),
        (silent, 15.0, "does not end within 3 s"),
    ):
        async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            found = await workload.check(MESH_RESOLVER_PORT=str(port), timeout=timeout)
            assert found.keys() == {"server_certificate_handshake"}
            assert told in found["server_certificate_handshake"].problem


async def test_an_examination_that_does_not_end_in_time_is_a_finding(workload: Workload) -> None:
    """Each of the six calls takes a fifth of the time."""

    async def hang(request: bytes, context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    methods = {f"M{n}": grpc.unary_unary_rpc_method_handler(hang) for n in range(6)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        found = await workload.check(
            methods=tuple(f"a.B/{name}" for name in methods),
            timeout=15.0,
            MESH_RESOLVER_PORT=str(port),
            MESH_PLAINTEXT="true",
            MESH_IDENTITY_DIRECTORY=str(workload.directory / "none"),
        )
    finally:
        await server.stop(0)
    assert found.keys() == {"too_slow"}


async def test_a_plaintext_server_of_somebody_else(workload: Workload) -> None:
    """It has no channelz, and a health service whose answer nobody can read."""
    plaintext = {"MESH_PLAINTEXT": "true", "MESH_IDENTITY_DIRECTORY": str(workload.directory / "none")}

    async def junk(request: bytes, context: Any) -> bytes:
        return b"\xff"

    handlers = {"List": grpc.unary_unary_rpc_method_handler(junk)}
    for served in ({}, handlers):
        server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", served)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            found = await workload.check(MESH_RESOLVER_PORT=str(port), **plaintext)
        finally:
            await server.stop(0)
        assert found.keys() == ({"call_refused"} if served else set())


async def test_clocks_that_differ(workload: Workload) -> None:
    found = await workload.check(clock=lambda: time.time() - 200)
    assert found.keys() == {"clock_skew"}
    assert "3 minutes ahead of ours" in found["clock_skew"].problem


async def test_a_replica_that_says_not_serving(workload: Workload) -> None:
    workload.served.health.set_all(False)
    found = await workload.check()
    assert found.keys() == {"not_serving"}
    assert "NOT_SERVING of the whole process" in found["not_serving"].problem


async def test_one_service_that_is_not_serving(workload: Workload) -> None:
    workload.served.health.set("mesh.testing.PingService", False)
    assert "NOT_SERVING of mesh.testing.PingService" in (await workload.check())["not_serving"].problem


async def test_a_policy_that_denies_a_method(workload: Workload) -> None:
    workload.served.write_policy("allow = []")
    await until(lambda: not workload.served.policy.current.workloads)
    found = await workload.check(methods=(METHOD,))
    assert found.keys() == {"policy_denies"}
    assert not workload.served.servicer.calls  # type: ignore[attr-defined]
    assert (
        f"denies us {METHOD}: {workload.served.ca.spiffe_id('client')} may not"
        in found["policy_denies"].problem
    )


async def test_a_method_that_the_target_does_not_serve(workload: Workload) -> None:
    found = await workload.check(methods=(f"{METHOD}s",))
    assert found.keys() == {"method_unknown"}
    assert f"does not serve {METHOD}s" in found["method_unknown"].problem


async def test_a_method_is_asked_of_the_target_before_the_equals_sign_only(workload: Workload) -> None:
    assert await workload.check(methods=(f"ping={METHOD}", f"order={METHOD}s")) == {}
    found = await workload.check(methods=(f"ping={METHOD}s",))
    assert found.keys() == {"method_unknown"}


async def test_a_policy_file_that_is_wrong(workload: Workload) -> None:
    (workload.directory / "own.toml").write_text("[nonsense]")
    found = await workload.check(MESH_AUTHZ_POLICY_FILE=str(workload.directory / "own.toml"))
    assert found.keys() == {"policy_unusable"}


async def test_an_exporter_that_cannot_be_reached(workload: Workload) -> None:
    for endpoint in (f"http://127.0.0.1:{free_port()}", workload.served.endpoint):  # the latter speaks TLS
        (found,) = findings(await exported(workload, endpoint, 15.0))
        assert (found.cause, endpoint in found.problem) == ("exporter_unreachable", True)
    collector = grpc.aio.server()
    port = collector.add_insecure_port("127.0.0.1:0")
    await collector.start()
    try:
        assert findings(await exported(workload, f"http://127.0.0.1:{port}", PATIENCE)) == []
    finally:
        await collector.stop(0)


@pytest.mark.parametrize("endpoint", ["http://", "http://127.0.0.1:99999", "http://a b:1", "http://[::1"])
async def test_an_exporter_that_is_no_address(workload: Workload, endpoint: str) -> None:
    """gRPC's channel to such an address hung the command for good."""
    (found,) = findings(await exported(workload, endpoint, PATIENCE))
    assert found.cause == "exporter_unreachable"
    assert "is no address of a collector" in found.problem


async def exported(workload: Workload, endpoint: str, timeout: float) -> Facts:
    """Look at the workload alone, which exports to this endpoint."""
    environ = workload.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    return await Examination(Request(MeshConfig.from_env(environ), timeout=timeout), environ).collect()


async def own(p: Process, directory: Path) -> tuple[dict[str, Finding], tuple[str, ...]]:
    """Return what is found in the process `ping` from inside, and what could not be looked at."""
    environ = {
        "MESH_SERVICE": "ping",
        "MESH_IDENTITY_DIRECTORY": str(directory / "certs"),
        "MESH_AUTHZ_POLICY_FILE": str(directory / "policy.toml"),
        "MESH_ADMIN_ADDRESS": p.address("admin"),
    }
    request = Request(MeshConfig.from_env(environ), timeout=PATIENCE)
    facts = await Examination(request, environ).collect()
    return {finding.cause: finding for finding in findings(facts)}, facts.skipped


async def test_callers_that_our_policy_has_denied(tmp_path: Path) -> None:
    async with process(tmp_path) as p:
        await p.ready()
        assert await own(p, tmp_path) == ({}, ())
        leaf = p.ca.issue("intruder")
        credentials = grpc.ssl_channel_credentials(p.ca.pem, leaf.tls_key, leaf.tls_crt)
        async with grpc.aio.secure_channel(
            p.address("mesh"), credentials, options=CHANNEL_OPTIONS
        ) as channel:
            await failure(PingServiceStub(channel).Ping(PingRequest()))
        found, _ = await own(p, tmp_path)
    assert found.keys() == {"policy_denies"}
    assert (
        f"{p.ca.spiffe_id('intruder')} was denied {METHOD} (calls since this process started: 1)"
        in found["policy_denies"].problem
    )


async def test_tokens_whose_keys_cannot_be_fetched(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="keyless", MESH_AUTH_KEYS_TIMEOUT="0.1") as p:
        await p.ready()
        found, _ = await own(p, tmp_path)
    assert found.keys() == {"tokens_unverifiable"}
    assert "fetches of the keys have failed" in found["tokens_unverifiable"].problem


async def test_a_policy_that_asks_for_users_without_keys(tmp_path: Path) -> None:
    async with process(tmp_path, policy=POLICY.replace('"anyone"', '"user"')) as p:
        await p.ready()
        found, _ = await own(p, tmp_path)
    assert found.keys() == {"tokens_unverifiable"}
    assert "has no keys" in found["tokens_unverifiable"].problem


async def test_a_process_that_serves_no_methods_needs_no_keys(tmp_path: Path) -> None:
    """The policy of a mesh may be one file for all, also for those that only call."""
    async with process(tmp_path, policy=POLICY.replace('"anyone"', '"user"'), PING_MODE="edge") as p:
        await p.ready()
        assert await own(p, tmp_path) == ({}, ())


@pytest.mark.parametrize(
    ("change", "problem", "remedy"),
    [
        ({"MESH_AUTH_CA_FILE": ""}, "the TLS certificate is not accepted", "MESH_AUTH_CA_FILE"),
        ({"MESH_AUTH_JWKS": "corp={base}/none"}, "answers with the status 404", "MESH_AUTH_JWKS"),
        ({"MESH_AUTH_ISSUERS": "corp={base}/realms/shop/"}, "is of the issuer", "exactly as the provider"),
        ({"MESH_AUTH_ALGORITHMS": "ES256"}, "none of its 1 keys", "MESH_AUTH_ALGORITHMS"),
        ({"MESH_AUTH_ISSUERS": "corp=https://localhost:{closed}"}, "cannot be reached", "egress"),
    ],
    ids=lambda v: str(v)[:40],
)
async def test_an_identity_provider_whose_keys_cannot_be_fetched(
    workload: Workload, tmp_path: Path, change: dict[str, str], problem: str, remedy: str
) -> None:
    async with provider(tmp_path) as idp:
        assert await workload.check(**idp.settings()) == {}
        changed = {k: v.format(base=idp.base, closed=free_port()) for k, v in change.items()}
        found = await workload.check(**idp.settings() | changed)
    assert found.keys() == {"tokens_unverifiable"}
    assert problem in found["tokens_unverifiable"].problem
    assert remedy in found["tokens_unverifiable"].remedy


async def test_metrics_of_another_process_are_not_taken_for_ours(tmp_path: Path) -> None:
    async with process(tmp_path) as p:
        await p.ready()
        write_atomically(tmp_path / "certs", p.ca.issue("order").files())
        environ = {
            "MESH_IDENTITY_DIRECTORY": str(tmp_path / "certs"),
            "MESH_ADMIN_ADDRESS": p.address("admin"),
        }
        request = Request(MeshConfig.from_env(environ, service="order"), timeout=PATIENCE)
        facts = await Examination(request, environ).collect()
    assert facts.process is None
    assert p.ca.spiffe_id("ping") in facts.skipped[0]


async def test_a_plain_client_that_is_pinned_to_one_of_two_replicas(
    workload: Workload, tmp_path: Path
) -> None:
    ca = workload.served.ca
    (tmp_path / "second").mkdir()
    async with serve(tmp_path / "second", ca=ca) as other:
        replicas = f"ping=static:///{workload.served.endpoint},{other.endpoint}"
        assert await workload.check(MESH_TARGETS=replicas) == {}
        balanced, pinned = ca.issue("balanced"), ca.issue("pinned")
        async with (
            workload.served.channel(balanced) as one,
            other.channel(balanced) as two,
            workload.served.channel(pinned) as three,
        ):
            await asyncio.gather(*(channel.channel_ready() for channel in (one, two, three)))
            found = await workload.check(MESH_TARGETS=replicas)
    assert found.keys() == {"pinned_clients"}
    told = found["pinned_clients"].problem
    assert told.startswith(
        f"{ca.spiffe_id('pinned')} at 127.0.0.1 is connected to {workload.served.endpoint} only"
    )


def test_it_needs_no_extras() -> None:
    extras = ("opentelemetry", "jwt", "starlette", "uvicorn", "uvloop", "grpc_reflection")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({extras}))\n"
        "from grpcmesh.commands import check; sys.exit(check.main(['pong']))"
    )
    environ = {"MESH_IDENTITY_DIRECTORY": "/nowhere", "MESH_RESOLVER_NAMESERVER": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "[certificate_missing]" in done.stdout


async def run(workload: Workload, *arguments: str) -> tuple[int, str]:
    """Run the command as a process. Return its exit status and output."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "OTEL_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grpcmesh", "check", *arguments,
        env=clean | workload.environ, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    with contextlib.closing(process._transport):  # type: ignore[attr-defined]
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_exit_status_tells(workload: Workload) -> None:
    assert (await run(workload, "ping", "--timeout", "60"))[0] == 0
    status, output = await run(workload, "pong", "--json", "--timeout", "60")
    assert status == 1
    assert [finding["cause"] for finding in json.loads(output)["findings"]] == ["name_not_found"]
    assert (await run(workload, "a b"))[0] == 2
    workload.environ["MESH_PLAINTEXT"] = "true"  # beside certificates: no process would start
    assert (await run(workload, "ping"))[0] == 2
