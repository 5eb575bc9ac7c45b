"""Runs SPIRE's server and agent with the configuration of examples/spire, and workloads beside them."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gotools import install
from tests.integration.serverkit import until
from tests.ports import free_port

MESH = Path(__file__).parents[2]
EXAMPLE = MESH / "examples" / "spire"
VERSION = "v1.13.3"
#: Seconds that a command of SPIRE may take.
PATIENCE = 120
#: Lifetime of certificates in seconds. The agent renews them when half of it is over.
TTL = 40
POLICY = """
[[allow]]
from = ["spiffe://example.org/**", "spiffe://partner.example/shop/*"]
methods = ["mesh.testing.PingService/*"]
[users]
"mesh.testing.PingService/*" = "anyone"
"""


@dataclass
class Running:
    """A process, and its output."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    async def says(self, text: str, times: int = 1) -> None:
        """Wait until a text was printed. Fail if the process ends before."""
        await until(
            lambda: self.output().count(text) >= times or self.process.poll() is not None, PATIENCE * 5
        )
        assert self.output().count(text) >= times, f"{text!r}: {self.output()[-5000:]}"

    async def ends(self) -> int:
        """Wait for the end, and return the exit status."""
        await until(lambda: self.process.poll() is not None)
        return self.process.wait()

    async def stop(self) -> None:
        self.process.terminate()
        await self.ends()


def start(
    command: list[str | Path], directory: Path, log: Path, environ: Mapping[str, str], group: int
) -> Running:
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=directory, env=environ, stdout=output, stderr=output, group=group, extra_groups=[]
        )
    return Running(process, log)


class Spire:
    """A server, an agent of it, and workloads, in a directory of their own.

    Args:
        directory: Where they keep their files. It must be short: Unix sockets are in it.
        domain: The trust domain.
    """

    def __init__(self, directory: Path, domain: str) -> None:
        self.directory, self.domain = directory, domain
        self.port, self.bundle_port = free_port(), free_port()
        self.running: list[Running] = []
        self._groups: dict[str, int] = {}
        (directory / "data").mkdir(parents=True)
        (directory / "policy.toml").write_text(POLICY)
        for name in ("server.conf", "agent.conf"):
            self._configure(name)

    def _configure(self, name: str) -> None:
        text = (EXAMPLE / name).read_text()
        for old, new in (("8081", self.port), ("8443", self.bundle_port), ("example.org", self.domain)):
            text = text.replace(old, str(new))
        (self.directory / name).write_text(text)

    async def start(self) -> None:
        """Start the server, and an agent that attests itself by a join token."""
        await self.start_server()
        (self.directory / "data" / "bundle.pem").write_text(self.server("bundle", "show"))
        token = self.server("token", "generate", "-spiffeID", f"spiffe://{self.domain}/node")
        (self.directory / "data" / "token").write_text(token.split()[-1])
        await self.start_agent("-joinTokenFile", "data/token")

    async def start_server(self) -> Running:
        return await self._daemon("spire-server", "server")

    async def start_agent(self, *arguments: str) -> Running:
        return await self._daemon("spire-agent", "agent", *arguments)

    async def _daemon(self, name: str, short: str, *arguments: str) -> Running:
        log = self.directory / f"{name}-{len(self.running)}.log"
        command = [program(name), "run", "-config", f"{short}.conf", *arguments]
        running = start(command, self.directory, log, os.environ, 0)
        self.running.append(running)
        check = [program(name), "healthcheck", "-socketPath", f"data/{short}.sock"]
        await until(lambda: self._run(check).returncode == 0 or running.process.poll() is not None)
        assert running.process.poll() is None, running.output()
        return running

    def server(self, *arguments: str) -> str:
        """Run a command of the server, and return its output."""
        done = self._run([program("spire-server"), *arguments, "-socketPath", "data/server.sock"])
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def _run(self, command: list[str | Path]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=PATIENCE)

    def authority(self, command: str, *arguments: str) -> dict[str, dict[str, str]]:
        """Run a command for the server's CA, such as `prepare`."""
        answer = self.server("localauthority", "x509", command, *arguments, "-output", "json")
        result: dict[str, dict[str, str]] = json.loads(answer)
        return result

    def entry(self, name: str, path: str, *arguments: str, dns: bool = True) -> None:
        """Register a workload: its Unix group, its id and, if `dns`, its DNS name."""
        named = ("-dns", f"{name}.default.svc.cluster.local") if dns else ()
        self.server(
            "entry", "create", "-parentID", f"spiffe://{self.domain}/node",
            "-selector", f"unix:gid:{self.group(name)}", "-spiffeID", f"spiffe://{self.domain}{path}",
            "-x509SVIDTTL", str(TTL), *named, *arguments,
        )  # fmt: skip

    def group(self, name: str) -> int:
        """Return the Unix group as which a workload runs, by which the agent knows it."""
        return self._groups.setdefault(name, 20_000 + len(self._groups))

    def workload(self, name: str, peer: str, ports: Mapping[str, int], **environ: str) -> Running:
        """Start a workload that calls a peer.

        Args:
            name: Its name, which was given to `entry`.
            peer: The other's name.
            ports: Where workloads listen, by name.
            environ: Further settings.
        """
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "OTEL_"))}
        own = {
            "SPIFFE_ENDPOINT_SOCKET": f"unix://{self.directory}/data/agent.sock",
            "MESH_IDENTITY_TRUST_DOMAIN": self.domain,
            "MESH_AUTHZ_POLICY_FILE": str(self.directory / "policy.toml"),
            "MESH_ADDRESS": f"127.0.0.1:{ports[name]}",
            "MESH_HEALTH_ADDRESS": "",
            "MESH_ADMIN_ADDRESS": "",
            "MESH_ADMISSION_ENABLED": "false",
            "MESH_DRAIN_DELAY": "0",
            "MESH_TARGETS": f"{peer}=static:///127.0.0.1:{ports[peer]}",
        }
        command: list[str | Path] = [sys.executable, "-m", "tests.spire.workload", name, peer]
        running = start(
            command, MESH, self.directory / f"{name}.log", clean | own | environ, self.group(name)
        )
        self.running.append(running)
        return running

    def kill(self) -> None:
        for running in reversed(self.running):
            running.process.kill()
            running.process.wait()


def program(name: str) -> Path:
    """Return SPIRE's server or agent: the one on the PATH, or else one that is built once."""
    found = shutil.which(name)
    return Path(found) if found else install(f"github.com/spiffe/spire/cmd/{name}", VERSION)


def calls(running: Running) -> int:
    """Return the number of calls that a workload has made, of which none failed."""
    found = re.search(r"^calls (\d+) failed 0$", running.output(), re.MULTILINE)
    assert found is not None, running.output()[-5000:]
    return int(found[1])


@contextlib.contextmanager
def spire(directory: Path, domain: str = "example.org") -> Iterator[Spire]:
    """Yield a SPIRE that is not started yet. At the end, end all processes."""
    if os.geteuid() != 0:
        pytest.fail("the agent tells workloads by their Unix group: run it as root")
    made = Spire(directory, domain)
    try:
        yield made
    finally:
        made.kill()
