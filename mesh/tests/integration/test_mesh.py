"""`Mesh` in a process of its own: what `run()` does, in a program that owns its event loop."""

import json
import signal
from pathlib import Path

from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.test_runtime import fetch, process

MAIN = Path(__file__).with_name("mesh_main.py")


async def test_a_mesh_serves_until_sigterm_and_drains(tmp_path: Path) -> None:
    async with process(tmp_path, main=MAIN) as p:
        await p.ready()
        async with p.channel() as channel:
            assert (await PingServiceStub(channel).Ping(PingRequest())).replica == "ping-1"
        state = json.loads(await fetch(f"http://{p.address('admin')}/state.json"))
        assert state["server"]["health"] == {"": True, "mesh.testing.PingService": True}
        p.popen.send_signal(signal.SIGTERM)
        assert await p.code() == 0
        assert p.lines() == ["enter first", "enter second", "leave second", "leave first", "after"]
        assert '"msg":"draining"' in p.text()


async def test_stop_ends_it_as_a_signal_does(tmp_path: Path) -> None:
    async with process(tmp_path, main=MAIN, PING_MODE="stopping") as p:
        assert await p.code() == 0
        assert p.lines()[-1] == "after"


async def test_a_failed_background_task_drains_and_is_raised(tmp_path: Path) -> None:
    async with process(tmp_path, main=MAIN, PING_MODE="failing") as p:
        assert await p.code() == 1
        assert p.lines()[-1] == "RuntimeError: the background has failed"
        assert "leave first" in p.lines()


async def test_an_error_of_the_body_ends_the_process_and_leaves_what_it_entered(tmp_path: Path) -> None:
    async with process(tmp_path, main=MAIN, PING_MODE="broken") as p:
        assert await p.code() == 1
        assert p.lines()[-1] == "RuntimeError: the body has failed"
        assert "leave first" in p.lines()


async def test_a_taken_port_is_an_error_that_names_it(tmp_path: Path) -> None:
    async with process(tmp_path) as first:
        await first.ready()
        environ = {"MESH_ADDRESS": first.address("mesh")}
        (tmp_path / "second").mkdir()
        async with process(tmp_path / "second", main=MAIN, **environ) as second:
            assert await second.code() == 1
            assert f"cannot listen on {first.address('mesh')}" in second.lines()[-1]
            assert "leave first" in second.lines()
