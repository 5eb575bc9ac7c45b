"""examples/hello as its README says: plaintext, then mutual TLS with `python -m grpcmesh ca`."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.serverkit import until
from tests.ports import free_port

HELLO = Path(__file__).parents[2] / "examples" / "hello"
#: Seconds that a client may take. It waits for its server, which may just be starting.
CLIENT = 120


def environment(port: int, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "OTEL_"))}
    return clean | {"MESH_TARGETS": f"greeter=static:///127.0.0.1:{port}", "MESH_ADMIN_ADDRESS": ""} | more


@contextlib.contextmanager
def server(log: Path, port: int, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    address = {"MESH_ADDRESS": f"127.0.0.1:{port}", "MESH_HEALTH_ADDRESS": ""}
    address["MESH_ADMISSION_ENABLED"] = "false"  # see serverkit
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "server.py"],
            cwd=HELLO, env=environment(port, **address, **environ), stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def client(port: int, **environ: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "client.py"]
    return subprocess.run(
        command, cwd=HELLO, env=environment(port, **environ), capture_output=True, text=True, timeout=CLIENT
    )


async def ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    await until(lambda: '"msg":"ready"' in log.read_text() or process.poll() is not None)
    assert process.poll() is None, str(log)


def ca(directory: Path, *services: str) -> None:
    command = [sys.executable, "-m", "grpcmesh", "ca", str(directory), *services]
    subprocess.run(command, check=True, env=environment(1), stdout=subprocess.DEVNULL)


async def test_hello_in_plaintext_and_both_say_so_loudly(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    with server(log, port, MESH_PLAINTEXT="true") as process:
        await ready(process, log)
        done = client(port, MESH_PLAINTEXT="true")
        assert done.stdout == "Hello, mesh!\n", done.stderr
        for told in (done.stderr, log.read_text()):
            assert '"level":"WARNING"' in told
            assert "PLAINTEXT: connections are neither encrypted nor authenticated" in told
        process.terminate()
        assert process.wait(60) == 0


async def test_hello_over_mutual_tls_and_an_outsider_is_refused(tmp_path: Path) -> None:
    port, log, certs = free_port(), tmp_path / "log", tmp_path / "certs"
    ca(certs, "greeter", "caller", "outsider")
    own = {"MESH_IDENTITY_DIRECTORY": str(certs / "greeter"), "MESH_AUTHZ_POLICY_FILE": "policy.toml"}
    with server(log, port, **own) as process:
        await ready(process, log)
        done = client(port, MESH_IDENTITY_DIRECTORY=str(certs / "caller"))
        assert done.stdout == "Hello, mesh!\n", done.stderr
        assert "PLAINTEXT" not in done.stderr + log.read_text()
        environ = {"MESH_SERVICE": "outsider", "MESH_IDENTITY_DIRECTORY": str(certs / "outsider")}
        refused = client(port, **environ)
        assert refused.returncode == 1
        assert "PERMISSION_DENIED" in refused.stderr
        plain = client(port, MESH_PLAINTEXT="true")
        assert plain.returncode == 1
        assert "Hello" not in plain.stdout


def test_plaintext_is_refused_beside_certificates_and_where_tls_is_required(tmp_path: Path) -> None:
    ca(tmp_path / "certs", "caller")
    directory = str(tmp_path / "certs" / "caller")
    beside = client(1, MESH_PLAINTEXT="true", MESH_IDENTITY_DIRECTORY=directory)
    assert beside.returncode == 1
    assert f"refused, because there are certificates of the mesh ({directory}/tls.crt)" in beside.stderr
    required = client(1, MESH_PLAINTEXT="true", MESH_REQUIRE_TLS="true")
    assert required.returncode == 1
    assert "MESH_PLAINTEXT: refused, because MESH_REQUIRE_TLS is set" in required.stderr


def test_without_certificates_or_plaintext_it_says_what_to_do() -> None:
    done = client(1)
    assert done.returncode == 1
    assert "/var/run/mesh/tls/tls.crt: No such file or directory; set MESH_IDENTITY_DIRECTORY" in done.stderr
    assert "`python -m grpcmesh ca` makes certificates" in done.stderr


@pytest.mark.parametrize("file", ["server.py", "client.py"])
def test_what_the_mesh_adds_to_a_program_is_five_lines(file: str) -> None:
    lines = (HELLO / file).read_text().splitlines()
    assert sum("Mesh" in line or "mesh." in line for line in lines if '"""' not in line) <= 5
