"""Every program of docs/extending.md runs as it stands, and prints what stands below it."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration import test_hello_example as hello
from tests.integration.serverkit import until
from tests.ports import free_port

PAGE = hello.HELLO.parents[1] / "docs" / "extending.md"
#: A section with a program and its output.
SECTION = re.compile(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```\n+```text\n(.*?)^```", re.M | re.S)
PROGRAMS = {title: (program, output) for title, program, output in SECTION.findall(PAGE.read_text())}
CLIENTS = [title for title, (program, _) in PROGRAMS.items() if "mesh.serve(" not in program]
SERVERS = [title for title in PROGRAMS if title not in CLIENTS]


def environment(directory: Path, ports: list[int], **more: str) -> dict[str, str]:
    addresses = [f"127.0.0.1:{port}" for port in ports]
    mode = (
        {"MESH_IDENTITY_DIRECTORY": "/none"} if (directory / "certs").exists() else {"MESH_PLAINTEXT": "true"}
    )
    return hello.environment(ports[0]) | mode | {
        "PYTHONPATH": str(hello.HELLO),
        "MESH_TARGETS": f"greeter=static:///{','.join(addresses)}",
        "GREETERS": " ".join(addresses),
        **more,
    }  # fmt: skip


def run(directory: Path, title: str, ports: list[int]) -> "subprocess.CompletedProcess[str]":
    (directory / "program.py").write_text(PROGRAMS[title][0])
    command, environ = [sys.executable, "program.py"], environment(directory, ports)
    return subprocess.run(
        command, cwd=directory, env=environ, capture_output=True, text=True, timeout=hello.CLIENT
    )


@contextlib.contextmanager
def served(directory: Path, title: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    (directory / "program.py").write_text(PROGRAMS[title][0])
    environ = environment(
        directory, [port], MESH_ADDRESS=f"127.0.0.1:{port}", MESH_HEALTH_ADDRESS="", PYTHONUNBUFFERED="1"
    )
    with (directory / "out").open("wb") as out, (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "program.py"], cwd=directory, env=environ, stdout=out, stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_every_section_with_a_program_has_its_output() -> None:
    assert len(PROGRAMS) == PAGE.read_text().count("```python") == 9
    assert len(SERVERS) == 2


@pytest.mark.parametrize("title", CLIENTS)
async def test_a_client_prints_what_the_page_says(tmp_path: Path, title: str) -> None:
    ports, own = [free_port(), free_port()], {"MESH_PLAINTEXT": "true"}
    if title == "Certificates":
        hello.ca(tmp_path / "certs", "greeter", "caller")
        own = {
            "MESH_IDENTITY_DIRECTORY": str(tmp_path / "certs" / "greeter"),
            "MESH_AUTHZ_POLICY_FILE": "policy.toml",
        }
    first, second = tmp_path / "first", tmp_path / "second"
    with hello.server(first, ports[0], **own) as one, hello.server(second, ports[1], **own) as two:
        await hello.ready(one, first)
        await hello.ready(two, second)
        done = run(tmp_path, title, ports)
    assert done.stdout == PROGRAMS[title][1], done.stderr


@pytest.mark.parametrize("title", SERVERS)
async def test_a_server_answers_and_prints_what_the_page_says(tmp_path: Path, title: str) -> None:
    port, out = free_port(), tmp_path / "out"
    with served(tmp_path, title, port) as process:
        await hello.ready(process, tmp_path / "log")
        assert hello.client(port, MESH_PLAINTEXT="true").stdout == "Hello, mesh!\n"
        await until(lambda: out.read_text() != "")
        assert out.read_text() == PROGRAMS[title][1]
