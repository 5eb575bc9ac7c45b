"""A replica whose token issuer cannot be reached when it starts, as in an outage of DNS."""

import signal
from pathlib import Path

from tests.integration.serverkit import until
from tests.integration.test_runtime import process

FETCH_FAILED = "keys of the token issuer not fetched"
READY = '"msg":"ready"'


async def test_a_replica_is_ready_when_it_has_its_keys(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    late = {"PING_MODE": "late keys", "PING_KEYS": str(keys), "MESH_AUTH_KEYS_TIMEOUT": "3600"}
    async with process(tmp_path, **late) as p:
        await until(lambda: FETCH_FAILED in p.text())  # logged once, and tried again and again
        assert READY not in p.text()
        keys.touch()
        await p.ready()
        assert "started without the keys" not in p.text()


async def test_without_them_it_is_ready_when_the_time_for_them_is_over(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="keyless", MESH_AUTH_KEYS_TIMEOUT="0.1") as p:
        await p.ready()
        assert "started without the keys" in p.text()


async def test_a_replica_that_waits_for_its_keys_stops_at_a_signal(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="keyless", MESH_AUTH_KEYS_TIMEOUT="3600") as p:
        await until(lambda: FETCH_FAILED in p.text())
        p.popen.send_signal(signal.SIGTERM)
        assert await p.code() == 0
        assert READY not in p.text()
