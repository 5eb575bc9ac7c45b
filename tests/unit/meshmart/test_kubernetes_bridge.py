"""The way of a verb into the toolbox: what is run there, and what comes back."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc
from typer.testing import CliRunner

from local.errors import ClusterError
from meshmart.kubernetes.bridge import exit_status, remote_verb, toolbox
from meshmart.options import here_or_there, without_place
from meshmart.toolbox import HEARTBEAT, RemoteVerb
from meshmart.verbs import app
from tests.ports import free_port
from tests.unit.meshmart.api_objects import pod


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("tour balance --context kind-shop --json", "tour balance --json"),
        ("load --context=kind-shop --namespace=shop --rps 5", "load --rps 5"),
        ("call x.Y/Z -- --context", "call x.Y/Z -- --context"),
        ("load --context", "load"),
        ("audit --contextual x", "audit --contextual x"),
    ],
)
def test_where_a_verb_runs_is_no_argument_of_it_there(given: str, kept: str) -> None:
    assert without_place(given.split()) == kept.split()


def test_a_verb_keeps_its_own_options_beside_the_two_of_the_place() -> None:
    own = typer.Typer()

    @own.command()
    @here_or_there
    def verb(name: str, times: int = 1) -> None:
        """Says it."""
        typer.echo(name * times)

    assert CliRunner().invoke(own, ["ab", "--times", "2"]).output == "abab\n"
    told = CliRunner().invoke(own, ["--help"]).output
    assert "--context" in told
    assert "--namespace" in told
    assert "--times" in told


def test_a_verb_takes_the_width_and_the_token_along_and_nothing_else() -> None:
    environ = {"COLUMNS": "80", "MESHMART_TOKEN": "t.o.k", "HOME": "/home/me", "KUBECONFIG": "x"}
    given = remote_verb(["tour", "balance"], environ, "132")
    assert given.arguments == ["tour", "balance"]
    assert given.environ == {"MESHMART_COLUMNS": "132", "MESHMART_TOKEN": "t.o.k"}


def test_what_a_verb_takes_from_a_variable_goes_along() -> None:
    read = dict.fromkeys(_variables(typer.main.get_command(app)), "x")
    assert "MESHMART_ADMIN_PASSWORD" in read
    del read["MESHMART_STATE_DIR"]  # of the embedded cluster
    assert remote_verb(["admin", "create", "root"], read).environ == read


def _variables(command: Any) -> Iterator[str]:
    """The variables that a command and those below it take options from."""
    yield from (parameter.envvar for parameter in command.params if parameter.envvar)
    for each in getattr(command, "commands", {}).values():
        yield from _variables(each)


def test_a_verb_takes_its_line_and_leaves_what_follows() -> None:
    sent = RemoteVerb(["call", "x.Y/Z", '{"name": "ö\\n"}'], {"MESHMART_TOKEN": "t.o.k"})
    reader, writer = os.pipe()
    os.write(writer, sent.line() + b"\n")
    assert RemoteVerb.read(reader) == sent
    assert os.read(reader, 10) == b"\n"
    for fd in (reader, writer):
        os.close(fd)


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        (RemoteVerb(["--help"], {}).line(), 0, ""),
        (RemoteVerb(["call", "x.Y/Z", "{}", "--as", "nobody"], {"NO_COLOR": "1"}).line(), 1, "meshmart: "),
        (b"", 1, "no verb came on standard input"),
    ],
)
def test_the_toolbox_runs_the_verb_that_it_reads(
    given: bytes, status: int, told: str, tmp_path: Path
) -> None:
    environ = os.environ | {"MESHMART_STATE_DIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-m", "meshmart.toolbox", "run"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(given)
        process.stdin.flush()
        if not given:
            process.stdin.close()
        assert process.wait(300) == status
        assert told in process.stderr.read().decode()


def test_a_ready_toolbox_is_taken_and_its_absence_told() -> None:
    pods = [pod("client-a", service="client", deleted=True), pod("client-b", service="client")]
    assert toolbox(pods, "meshmart") == "client-b"
    with pytest.raises(ClusterError, match=r"of namespace shop is not ready: there is no pod .*\(toolbox"):
        toolbox([], "shop")
    with pytest.raises(ClusterError, match="client-a is Pending"):
        toolbox([pod("client-a", service="client", ready=False, phase="Pending")], "meshmart")


def test_the_exit_status_is_the_verbs() -> None:
    causes = {"causes": [{"reason": "ExitCode", "message": "3"}]}
    failed = {"status": "Failure", "reason": "NonZeroExitCode", "details": causes}
    assert exit_status(b'{"metadata":{},"status":"Success"}') == 0
    assert exit_status(json.dumps(failed).encode()) == 3


def test_a_verb_that_could_not_be_run_is_an_error() -> None:
    status = {"status": "Failure", "message": 'exec: "python": executable file not found in $PATH'}
    with pytest.raises(ClusterError, match="executable file not found"):
        exit_status(json.dumps(status).encode())


#: Stands in for a verb that mends what it broke: a task that needs a moment when it is cancelled.
MENDING = """
import asyncio, signal, sys, threading
from meshmart.toolbox import watch_caller
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
async def verb():
    print("begun", flush=True)
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.2)
        print("mended", flush=True)
threading.Thread(target=watch_caller, args=[float(sys.argv[1])], daemon=True).start()
try:
    asyncio.run(verb())
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("says", [b"\n", HEARTBEAT + b"\n", None, HEARTBEAT])
def test_a_caller_that_asks_or_is_gone_interrupts_the_verb(says: bytes | None) -> None:
    """By Ctrl-C, by the end of the input, or by silence: the last one sends one heartbeat and no more."""
    silence = "1" if says == HEARTBEAT else "3600"
    with subprocess.Popen(
        [sys.executable, "-c", MENDING, silence], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        if says:
            process.stdin.write(says)
            process.stdin.flush()
        else:
            process.stdin.close()
        assert process.stdout.readline() == b"mended\n"
        assert process.wait(300) == 130  # an interpreter's end takes its time on a busy machine


def test_an_idle_toolbox_answers_probes_until_it_is_told_to_go() -> None:
    address = f"127.0.0.1:{free_port()}"
    environ = {k: v for k, v in os.environ.items() if not k.startswith("MESH_")}
    environ["MESH_HEALTH_ADDRESS"] = address
    with subprocess.Popen([sys.executable, "-m", "meshmart.toolbox"], env=environ) as process:
        try:
            with grpc.insecure_channel(address) as channel:
                request = health_pb2.HealthCheckRequest()
                stub = health_pb2_grpc.HealthStub(channel)
                answer = stub.Check(request, timeout=120, wait_for_ready=True)
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0
        finally:
            process.kill()  # or leaving the block would wait for it, whatever went wrong
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
