"""`meshmart check` on an embedded cluster of stubs, from inside its replicas."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from local.control import ControlServer
from local.state import Lock
from meshmart.verbs import app
from tests.integration.local.helpers import Running, cluster, eventually


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A cluster that answers on its control socket."""
    async with cluster(tmp_path) as made:
        lock = Lock(made.supervisor.state.lock)
        assert lock.acquire()
        control = ControlServer(made.supervisor.state.socket, made.operations.handle)
        await control.start()
        try:
            yield made
        finally:
            await control.aclose()
            lock.release()


async def check(running: Running, *services: str) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the JSON."""
    words = [
        "check",
        *services,
        "--json",
        "--timeout",
        "60",
        "--state-dir",
        str(running.supervisor.state.path),
    ]
    done = await asyncio.to_thread(CliRunner().invoke, app, words)
    return done.exit_code, json.loads(done.stdout)


async def test_a_policy_that_cannot_be_used_is_seen_from_every_replica(running: Running) -> None:
    running.supervisor.state.policy.write_text("[nonsense]")
    status, told = await check(running, "product")
    assert (status, told["workloads"]) == (1, ["product/1", "product/2"])
    (wrong,) = [f for f in told["findings"] if f["cause"] == "policy_unusable"]
    assert wrong["seen_from"] == ["product/1", "product/2"]
    assert str(running.supervisor.state.policy) in wrong["problem"]


async def test_replicas_that_are_down_are_told_and_missed_by_their_caller(running: Running) -> None:
    (running.supervisor.state.data / "sick").touch()
    await eventually(lambda: not any(replica.ready for replica in running.replicas()))
    status, told = await check(running, "storefront")
    assert (status, told["workloads"]) == (1, ["storefront/1"])
    found = {(f["cause"], f["subject"]): f for f in told["findings"]}
    for name in ("product/1", "product/2"):
        assert "is not ready" in found["replica_not_ready", name]["problem"]
        assert f"meshmart logs {name}" in found["replica_not_ready", name]["remedy"]
    assert found["name_not_found", "product"]["seen_from"] == ["storefront/1"]


async def test_the_environment_of_a_replica_is_that_of_its_process(running: Running) -> None:
    told = await running.do("environment", service="product", replica=2)
    assert told["MESH_REPLICA"] == "product-2"
    assert told["MESH_IDENTITY_DIRECTORY"] == str(running.supervisor.state.certs / "product")
    assert all(name.startswith(("MESH_", "OTEL_", "GRPC_")) for name in told)
