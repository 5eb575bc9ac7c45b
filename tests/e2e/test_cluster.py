"""The embedded cluster with the real services, driven by the `meshmart` command as a person would."""

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from ecommerce.product_pb2 import GetProductRequest, GetProductResponse

from tests.integration.local.helpers import alive, eventually
from tests.ports import free_port, loopback_prefix

TIMEOUT = 600


class Command:
    """The `meshmart` command with a state directory, addresses and a port of its own."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir, self.port = state_dir, free_port()
        self.environ = {
            **os.environ,
            "MESHMART_STATE_DIR": str(state_dir),
            "MESHMART_LOOPBACK": loopback_prefix(),
        }

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "meshmart", *arguments],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def good(self, *arguments: str) -> str:
        """Standard output of a command that succeeds."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.good("status", "--json"))
        return told

    def replicas(self, service: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.status()["services"][service]["replicas"]
        return found


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return str(reply.read().decode())


@pytest.fixture(scope="module")
def meshmart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    command = Command(tmp_path_factory.mktemp("cluster"))
    out = command.good("up", "--detach", "--port", str(command.port), "--replicas", "product=3")
    assert f"http://127.0.0.1:{command.port}" in out
    try:
        yield command
    finally:
        command("down")


def get_product(meshmart: Command, replica: dict[str, Any]) -> GetProductResponse:
    """One call over mTLS with the operator's certificate, straight to a replica."""
    files = [meshmart.state_dir / "certs" / "client" / n for n in ("ca.crt", "tls.key", "tls.crt")]
    credentials = grpc.ssl_channel_credentials(*(f.read_bytes() for f in files))
    name = "product.meshmart.svc.cluster.local"
    options = [("grpc.ssl_target_name_override", name), ("grpc.enable_http_proxy", 0)]
    with grpc.secure_channel(f"{replica['address']}:{replica['port']}", credentials, options) as channel:
        call = channel.unary_unary(
            "/ecommerce.ProductService/GetProduct",
            request_serializer=GetProductRequest.SerializeToString,
            response_deserializer=GetProductResponse.FromString,
        )
        reply: GetProductResponse = call(GetProductRequest(id=1), timeout=60)
        return reply


def test_status_tells_every_replica_in_the_shape_that_programs_rely_on(meshmart: Command) -> None:
    status = meshmart.status()
    assert set(status) >= {"dns", "storefront", "prometheus", "traces", "services"}
    assert {name: len(s["replicas"]) for name, s in status["services"].items()} == {
        "product": 3,
        "order": 2,
        "payment": 2,
        "user": 2,
        "notification": 2,
        "chat": 2,
        "analytics": 2,
        "loadgen": 0,
        "storefront": 2,
    }
    assert status["services"]["product"]["port"] == 50051
    for service in status["services"].values():
        for replica in service["replicas"]:
            assert set(replica) >= {"id", "address", "pid", "ready", "restarts", "metrics", "health"}
            assert replica["ready"]
            assert alive(replica["pid"])


def test_the_table_shows_the_same(meshmart: Command) -> None:
    out = meshmart.good("status")
    assert "product/3" in out
    assert "storefront/2" in out


def test_the_shop_is_open_and_sells(meshmart: Command) -> None:
    assert "<html" in fetch(meshmart.status()["storefront"])
    for replica in meshmart.replicas("product"):
        assert get_product(meshmart, replica).product.name


def test_every_replica_has_metrics(meshmart: Command) -> None:
    for replica in meshmart.replicas("product"):
        assert "grpc_server_handled_total" in fetch(replica["metrics"])


async def test_a_killed_replica_comes_back(meshmart: Command) -> None:
    pid = meshmart.replicas("order")[0]["pid"]
    assert str(pid) in meshmart.good("kill", "order/1")
    await eventually(lambda: meshmart.replicas("order")[0]["ready"], 60)
    replica = meshmart.replicas("order")[0]
    assert replica["restarts"] == 1
    assert replica["pid"] != pid


def test_scaling_up_and_down(meshmart: Command) -> None:
    meshmart.good("scale", "payment=3")
    assert [r["ready"] for r in meshmart.replicas("payment")] == [True] * 3
    meshmart.good("scale", "payment=2")
    assert [r["id"] for r in meshmart.replicas("payment")] == [1, 2]


def test_a_rolling_restart_replaces_every_process(meshmart: Command) -> None:
    before = {r["pid"] for r in meshmart.replicas("user")}
    meshmart.good("restart", "user")
    after = meshmart.replicas("user")
    assert all(r["ready"] for r in after)
    assert not before & {r["pid"] for r in after}


def test_rotated_certificates_are_used(meshmart: Command) -> None:
    out = meshmart.good("rotate-certs")
    assert {line.split()[0] for line in out.splitlines()} >= {"product", "order", "payment", "user", "client"}
    assert get_product(meshmart, meshmart.replicas("product")[0]).product.name


def test_logs_of_one_replica_and_of_all(meshmart: Command) -> None:
    assert json.loads(meshmart.good("logs", "product/1").splitlines()[0])["replica"] == "product-1"
    prefixes = {line.split(" | ")[0] for line in meshmart.good("logs", "product").splitlines()}
    assert {"product-1", "product-2", "product-3"} <= prefixes


def test_a_second_up_is_refused_and_changes_nothing(meshmart: Command) -> None:
    before = meshmart.status()
    refused = meshmart("up", "--detach", "--port", str(free_port()))
    assert refused.returncode == 1
    assert "running" in refused.stderr
    assert meshmart.status() == before


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    command = Command(tmp_path / "state")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", command.port))
        taken.listen()
        for arguments in (["up", "--detach"], ["up"]):
            done = command(*arguments, "--port", str(command.port))
            assert done.returncode == 1
            assert done.stderr.count("\n") == 1
            assert f"port {command.port} is taken" in done.stderr
    assert "no cluster is running" in command("status").stderr


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (["scale", "nobody=1"], 1, "no service 'nobody'"),
        (["scale", "product"], 1, "SERVICE=NUMBER"),
        (["scale", "product=999"], 1, "from 0 to"),
        (["kill", "product/99"], 1, "no product/99"),
        (["kill", "product"], 1, "SERVICE/NUMBER"),
        (["restart", "nobody"], 1, "no service"),
        (["logs", "nobody"], 1, "no logs of nobody"),
        (["dance"], 2, "No such command"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    meshmart: Command, arguments: list[str], status: int, problem: str
) -> None:
    done = meshmart(*arguments)
    assert done.returncode == status
    assert problem in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_down_leaves_no_process_and_keeps_what_was_stored(tmp_path: Path) -> None:
    command = Command(tmp_path / "state")
    command.good("up", "--detach", "--port", str(command.port))
    pids = [r["pid"] for s in command.status()["services"].values() for r in s["replicas"]]
    command.good("down")
    assert not any(alive(pid) for pid in pids)
    assert (tmp_path / "state" / "data" / "product.db").exists()
    assert not (tmp_path / "state" / "control.sock").exists()
    for verb in (["status"], ["scale", "product=1"], ["restart", "product"], ["kill", "product/1"]):
        done = command(*verb)
        assert done.returncode == 1
        assert "no cluster is running" in done.stderr
    assert command("down").returncode == 0
