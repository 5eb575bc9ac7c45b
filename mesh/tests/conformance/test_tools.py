"""The commands of grpcurl, grpc-health-probe and ghz that our docs give, run as they stand there.

They are read from the code blocks of the docs, so that a command cannot be wrong there and right here.
"""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from grpcmesh.ca import write_atomically
from tests import gotools
from tests.integration.test_mesh import MAIN
from tests.integration.test_runtime import Process

#: The package of each tool, and its version; docs/tools.md names it, too.
TOOLS = {
    "grpcurl": ("github.com/fullstorydev/grpcurl/cmd/grpcurl", "v1.9.4"),
    "grpc-health-probe": ("github.com/grpc-ecosystem/grpc-health-probe", "v0.4.63"),
    "ghz": ("github.com/bojand/ghz/cmd/ghz", "v0.120.0"),
}
DOCS = Path(__file__).parents[2] / "docs"
#: The pages of the library and, where the library lies in the shop's repository, those of the shop.
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.parent.glob("*.md"), *DOCS.parents[1].glob("docs/*.md")])
BLOCK = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: Seconds for one command.
TIMEOUT = 120


def lines(page: Path) -> list[str]:
    """Return the lines of a page's blocks of commands."""
    return [line for block in BLOCK.findall(page.read_text()) for line in block.splitlines()]


COMMANDS = [
    pytest.param(line, id=f"{page.stem}:{line[:60]}")
    for page in PAGES
    for line in lines(page)
    if line.split(" ")[0] in TOOLS
]
#: The part of the answer that says that a command did what it is for, by a part of the command.
EXPECTED = {
    " list": r"^mesh\.testing\.PingService$",
    " describe ": r"^mesh\.testing\.PingService is a service",
    "grpc.health.v1.Health/Check": r'"status": "SERVING"',
    " -v ": r"^Response trailers received:",
    "grpcurl ": r'"replica": "ping-1"',
    "grpc-health-probe": r"^status: SERVING$",
    "ghz ": r"^\s+\[OK\]\s+400 responses",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("served")
    started = Process(directory, main=MAIN)
    try:
        write_atomically(directory / "client", started.ca.issue("client").files())
        asyncio.run(started.ready())
        yield started
    finally:
        started.popen.kill()
        started.popen.wait()


def environment(served: Process, tool: str) -> dict[str, str]:
    """Return the variables of the page, for the ping service, and a PATH with the tool.

    The tool is installed if it is not yet. Without Go the test is skipped, but never in CI.
    """
    program = gotools.install(*TOOLS[tool])
    directory = served.output.parent / "client"
    found = {
        "PATH": f"{program.parent}:/usr/bin:/bin",
        "MESH": served.address("mesh"),
        "HEALTH": served.address("health"),
        "NAME": "ping",
        "CERTS": str(directory),
        "METHOD": "mesh.testing.PingService/Ping",
        "DATA": "{}",
    }
    (tls,) = (line for line in lines(DOCS / "tools.md") if line.startswith("export TLS="))
    return {**found, "SETTINGS": tls}


def run(command: str, served: Process) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'eval "$SETTINGS"\n{command}'],
        env=environment(served, command.split(" ")[0]),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )


def test_the_docs_give_commands_of_each_tool_with_tls_and_of_the_probe_without() -> None:
    page = [line for line in lines(DOCS / "tools.md") if line.split(" ")[0] in TOOLS]
    assert {line.split(" ")[0] for line in page if re.search(r"\$TLS|-cert", line)} == set(TOOLS)
    assert any(line.startswith('grpc-health-probe -addr "$HEALTH"') for line in page)
    text = (DOCS / "tools.md").read_text()
    assert all(f"{name} {version[1:]}" in text for name, (_, version) in TOOLS.items())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_does_what_it_is_for(served: Process, command: str) -> None:
    done = run(command, served)
    wanted = next(answer for part, answer in EXPECTED.items() if part in command)
    assert done.returncode == 0, done.stderr
    assert re.search(wanted, done.stdout + done.stderr, re.MULTILINE), done.stdout + done.stderr


@pytest.mark.parametrize("tool", list(TOOLS))
def test_a_tool_without_a_certificate_is_refused(served: Process, tool: str) -> None:
    trusting = {
        "grpcurl": 'grpcurl -cacert "$CERTS/ca.crt" -authority "$NAME" "$MESH" list',
        "grpc-health-probe": 'grpc-health-probe -addr "$MESH" -tls -tls-ca-cert "$CERTS/ca.crt" '
        '-tls-server-name "$NAME"',
        "ghz": 'ghz --cacert "$CERTS/ca.crt" --cname "$NAME" --call "$METHOD" -d "$DATA" -n 1 "$MESH"',
    }
    assert run(trusting[tool], served).returncode != 0
