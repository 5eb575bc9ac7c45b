"""`run()` in a process of its own, with its ports, signals and exit status."""

import asyncio
import contextlib
import datetime
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.fault import fault_pb2 as pb
from grpcmesh.fault.fault_pb2_grpc import FaultServiceStub
from grpcmesh.grpc_environment import FORK_SUPPORT
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration import rawh2
from tests.integration.serverkit import BREAKABLE, CHANNEL_OPTIONS, POLICY, failure, until
from tests.ports import free_port

DAY = datetime.timedelta(days=1)
MAIN = Path(__file__).with_name("ping_main.py")


class Process:
    """One run of ping_main.py, or of another program."""

    def __init__(self, directory: Path, policy: str = POLICY, main: Path = MAIN, **environ: str) -> None:
        self.ca = CertificateAuthority()
        self.ports = {name: free_port() for name in ("mesh", "health", "admin")}
        write_atomically(directory / "certs", self.ca.issue("ping").files())
        (directory / "policy.toml").write_text(policy)
        self.output = directory / "output"
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "OTEL_", "KUBERNETES_"))},
            "MESH_REPLICA": "ping-1",
            "MESH_ADDRESS": self.address("mesh"),
            "MESH_HEALTH_ADDRESS": self.address("health"),
            "MESH_ADMIN_ADDRESS": self.address("admin"),
            "MESH_IDENTITY_DIRECTORY": str(directory / "certs"),
            "MESH_AUTHZ_POLICY_FILE": str(directory / "policy.toml"),
            "MESH_AUTH_ISSUER": "https://issuer.example.com",
            "MESH_AUTH_AUDIENCE": "shop",
            "MESH_DRAIN_DELAY": "0.2",
            "MESH_ADMISSION_ENABLED": "false",  # see serverkit
            **environ,
        }
        if environ.get("PING_MODE") in ("early", "subprocess"):  # as on a machine where nobody has set it
            self._environ.pop(FORK_SUPPORT, None)
        with self.output.open("wb") as out:
            self.popen = subprocess.Popen(
                [sys.executable, str(main)], env=self._environ, stdout=out, stderr=subprocess.STDOUT
            )

    def address(self, port: str) -> str:
        return f"127.0.0.1:{self.ports[port]}"

    def text(self) -> str:
        return self.output.read_text()

    def lines(self) -> list[str]:
        """Return the lines that it printed, without log lines and those of gRPC."""
        return [line for line in self.text().splitlines() if not line.startswith(("{", "I", "E", "W"))]

    async def code(self, timeout: float = 120.0) -> int:
        await until(lambda: self.popen.poll() is not None, timeout)
        return int(self.popen.returncode)

    async def ready(self) -> None:
        await until(lambda: '"msg":"ready"' in self.text() or self.popen.poll() is not None)
        assert self.popen.poll() is None, self.text()

    def channel(self) -> grpc.aio.Channel:
        leaf = self.ca.issue("client")
        credentials = grpc.ssl_channel_credentials(self.ca.pem, leaf.tls_key, leaf.tls_crt)
        return grpc.aio.secure_channel(self.address("mesh"), credentials, options=CHANNEL_OPTIONS)


@contextlib.asynccontextmanager
async def process(
    directory: Path, policy: str = POLICY, main: Path = MAIN, **environ: str
) -> AsyncIterator[Process]:
    started = Process(directory, policy, main, **environ)
    try:
        yield started
    finally:
        if started.popen.poll() is None:
            started.popen.kill()
            started.popen.wait()


async def test_a_service_serves_tells_its_state_and_leaves_with_0(tmp_path: Path) -> None:
    async with process(tmp_path) as p:
        await p.ready()
        async with p.channel() as channel:
            assert (await PingServiceStub(channel).Ping(PingRequest())).replica == "ping-1"
        async with grpc.aio.insecure_channel(p.address("health")) as plain:
            stub: Any = health_pb2_grpc.HealthStub(plain)
            for service in ("", "mesh.testing.PingService"):
                status = (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status
                assert status == health_pb2.HealthCheckResponse.SERVING
            error = await failure(PingServiceStub(plain).Ping(PingRequest()))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED  # nothing but health without TLS
        state = await fetch(f"http://{p.address('admin')}/state.json")
        assert json.loads(state)["server"]["health"][""] is True
        metrics = (await fetch(f"http://{p.address('admin')}/metrics")).decode()
        assert 'grpc_server_handled_total{grpc_code="OK",grpc_method="Ping"' in metrics
        assert "mesh_certificate_expiry_timestamp_seconds" in metrics
        p.popen.send_signal(signal.SIGTERM)
        assert await p.code() == 0
        assert p.lines() == ["enter first", "enter second", "leave second", "leave first"]


async def fetch(url: str) -> bytes:
    with await asyncio.to_thread(urllib.request.urlopen, url) as response:
        data: bytes = response.read()
        return data


async def test_a_drain_says_not_serving_before_it_refuses(tmp_path: Path) -> None:
    async with process(tmp_path, MESH_DRAIN_DELAY="3") as p:
        await p.ready()
        async with p.channel() as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            p.popen.send_signal(signal.SIGINT)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert (await PingServiceStub(channel).Ping(PingRequest(delay=0.2))).replica == "ping-1"
            assert await p.code() == 0


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with process(tmp_path, MESH_DRAIN_DELAY="60") as p:
        await p.ready()
        p.popen.send_signal(signal.SIGTERM)
        await until(lambda: '"msg":"draining"' in p.text())
        p.popen.send_signal(signal.SIGTERM)
        assert await p.code(30) == 128 + signal.SIGTERM  # not after the delay of 60 s


async def test_a_crash_is_as_a_kill_9_without_drain_or_answer(tmp_path: Path) -> None:
    async with process(tmp_path, BREAKABLE, MESH_FAULT_ENABLED="true", MESH_DRAIN_DELAY="60") as p:
        await p.ready()
        async with p.channel() as channel:
            stub = FaultServiceStub(channel)
            await stub.SetFault(pb.SetFaultRequest(fault=pb.Fault(method="*", abort="INTERNAL")))
            state = json.loads(await fetch(f"http://{p.address('admin')}/state.json"))
            assert state["server"]["faults"] == {"*": "abort INTERNAL, share 1 (0 hits)"}
            await until(lambda: "fault set by spiffe://cluster.local/ns/default/sa/client" in p.text())
            error = await failure(stub.Crash(pb.CrashRequest()))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert await p.code() == 137
        assert p.lines() == ["enter first", "enter second"]


async def test_a_service_says_its_priorities_and_the_environment_has_the_last_word(tmp_path: Path) -> None:
    environ = {
        "PING_MODE": "priorities",
        "MESH_ADMISSION_ENABLED": "true",
        "MESH_ADMISSION_PRIORITIES": "mesh.testing.PingService/Ping=default",
    }
    async with process(tmp_path, **environ) as p:
        await p.ready()
        state = json.loads(await fetch(f"http://{p.address('admin')}/state.json"))
        assert state["server"]["priorities"] == {
            "mesh.testing.PingService/Ping": "default",
            "mesh.testing.PingService/Poke": "critical",
        }
        assert b"PingService/Poke critical" in await fetch(f"http://{p.address('admin')}/")


async def test_every_bad_variable_is_told_at_once_with_2(tmp_path: Path) -> None:
    async with process(tmp_path, MESH_DRAIN_GRACE="soon", MESH_RESOLVER_PORT="99999", MESH_NO_SUCH="1") as p:
        assert await p.code() == 2
        assert len(p.lines()) == 3
        for word in ("MESH_DRAIN_GRACE", "MESH_RESOLVER_PORT", "MESH_NO_SUCH"):
            assert word in p.text()


@pytest.mark.parametrize("port", ["mesh", "health", "admin"])
async def test_a_taken_port_is_one_clear_line_and_1(tmp_path: Path, port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        name = "MESH_ADDRESS" if port == "mesh" else f"MESH_{port.upper()}_ADDRESS"
        async with process(tmp_path, **{name: address}) as p:
            assert await p.code() == 1
            told = [line for line in p.lines() if address in line]
            assert len(told) == 1
            assert "in use" in told[0]
            assert "Traceback" not in p.text()


async def test_no_certificate_is_one_clear_line_and_1(tmp_path: Path) -> None:
    async with process(tmp_path, MESH_IDENTITY_DIRECTORY=str(tmp_path / "nowhere")) as p:
        assert await p.code() == 1
        assert p.lines() == [f"ping: {tmp_path}/nowhere/tls.crt: No such file or directory"]


async def test_a_certificate_that_no_peer_would_accept_is_one_clear_line_and_1(tmp_path: Path) -> None:
    expired = CertificateAuthority().issue(
        "ping", lifetime=-DAY, not_before=datetime.datetime.now(datetime.UTC) - 2 * DAY
    )
    write_atomically(tmp_path / "old", expired.files())
    async with process(tmp_path, MESH_IDENTITY_DIRECTORY=str(tmp_path / "old")) as p:
        assert await p.code() == 1
        assert len(p.lines()) == 1
        assert p.lines()[0].startswith(f"ping: {tmp_path}/old/tls.crt: expired at ")


async def test_the_certificate_of_another_workload_is_one_clear_line_and_1(tmp_path: Path) -> None:
    write_atomically(tmp_path / "other", CertificateAuthority().issue("order").files())
    async with process(tmp_path, MESH_IDENTITY_DIRECTORY=str(tmp_path / "other")) as p:
        assert await p.code() == 1
        assert len(p.lines()) == 1
        assert "/sa/order, and this process is spiffe://cluster.local/ns/default/sa/ping" in p.lines()[0]


async def test_a_wrong_policy_is_one_clear_line_and_1(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[[deny]]\nfrom = []\n")
    async with process(tmp_path, MESH_AUTHZ_POLICY_FILE=str(wrong)) as p:
        assert await p.code() == 1
        assert p.lines() == [f"ping: {wrong}: unknown section: deny"]


async def test_a_failing_background_task_takes_the_process_down_drained(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="failing") as p:
        assert await p.code() == 1
        assert '"msg":"draining"' in p.text()
        assert "the background has failed" in p.text()
        assert p.lines()[-1] == "leave first"


@pytest.mark.parametrize("port", ["mesh", "health"])
async def test_a_server_whose_accept_loop_has_ended_says_so_and_leaves_with_1(
    tmp_path: Path, port: str
) -> None:
    async with process(tmp_path, PING_MODE="breakable", MESH_DRAIN_DELAY="2") as p:
        await p.ready()
        async with p.channel() as channel, grpc.aio.insecure_channel(p.address("health")) as plain:
            call = PingServiceStub(channel).Count(PingRequest(count=1_000_000, delay=0.01))
            await call.read()  # an open stream does not keep the process alive
            stub: Any = health_pb2_grpc.HealthStub(plain)
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            p.popen.send_signal(signal.SIGUSR1)
            await until(lambda: "broken" in p.lines())
            context = rawh2.tls(p.ca.issue("client")) if port == "mesh" else None
            async with rawh2.connect(p.address(port), context) as last:
                await last.request(rawh2.headers(b"/a.B/c"))
                assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await p.code() == 1
        assert f"the accept loop of the {port} port has ended" in p.text()


async def test_a_failing_build_is_told_and_leaves_what_it_entered(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="broken") as p:
        assert await p.code() == 1
        assert "build has failed" in p.text()
        assert "leave first" in p.lines()


async def test_a_configuration_that_build_refuses_is_told_like_any_other(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="misconfigured") as p:
        assert await p.code() == 2
        told = ["ping: PING_MODE: is wrong", "ping: PING_COLOUR: is missing"]
        assert [line for line in p.lines() if line.startswith("ping:")] == told


async def test_a_signal_during_the_start_ends_it_with_0(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="stuck") as p:
        await until(lambda: "enter second" in p.text())
        p.popen.send_signal(signal.SIGTERM)
        assert await p.code() == 0
        assert p.lines()[-1] == "leave first"


async def test_a_process_without_servicers_has_health_and_admin_and_no_mesh_port(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="edge") as p:
        await p.ready()
        async with grpc.aio.insecure_channel(p.address("health")) as plain:
            stub: Any = health_pb2_grpc.HealthStub(plain)
            status = (await stub.Check(health_pb2.HealthCheckRequest())).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        with socket.socket() as s:
            assert s.connect_ex(("127.0.0.1", p.ports["mesh"])) != 0
        p.popen.send_signal(signal.SIGTERM)
        assert await p.code() == 0
