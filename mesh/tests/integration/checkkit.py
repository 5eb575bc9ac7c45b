"""The workload `client`, which the tests of `python -m grpcmesh check` examine."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from grpcmesh.ca import write_atomically
from grpcmesh.commands.doctor.examination import Examination, Request
from grpcmesh.commands.doctor.findings import Finding
from grpcmesh.commands.doctor.rules import findings
from grpcmesh.config import MeshConfig
from tests.dnskit import DnsServer, dns_servers
from tests.integration.serverkit import Served, serve

#: Seconds that an examination may take here: the machine may be busy.
PATIENCE = 60.0


class Workload:
    """The workload `client`, with a certificate, beside a replica of `ping` and a nameserver."""

    def __init__(self, directory: Path, served: Served, nameserver: DnsServer) -> None:
        self.directory, self.served, self.dns = directory, served, nameserver
        self.certs = directory / "client"
        write_atomically(self.certs, served.ca.issue("client").files())
        nameserver.hosts("127.0.0.1")
        self.environ = {
            "MESH_SERVICE": "client",
            "MESH_IDENTITY_DIRECTORY": str(self.certs),
            "MESH_RESOLVER_NAMESERVER": nameserver.endpoint,
            "MESH_RESOLVER_PORT": str(served.server.port),
            "MESH_RESOLVER_TIMEOUT": str(PATIENCE),
            "MESH_ADMIN_ADDRESS": "",
        }

    async def check(
        self,
        *targets: str,
        clock: Callable[[], float] = time.time,
        methods: tuple[str, ...] = (),
        timeout: float = PATIENCE,
        **environ: str,
    ) -> dict[str, Finding]:
        """Return the findings by cause."""
        environ = self.environ | environ
        config = MeshConfig.from_env(environ)
        request = Request(config, targets or ("ping",), methods, timeout=timeout)
        found = findings(await Examination(request, environ, clock).collect())
        assert all("\n" not in str(finding) and finding.remedy for finding in found)
        by_cause = {finding.cause: finding for finding in found}
        assert len(by_cause) == len(found), found
        return by_cause


@contextlib.asynccontextmanager
async def workloads(directory: Path) -> AsyncIterator[Workload]:
    """Run a replica of `ping` and a nameserver, and give the workload beside them."""
    async with serve(directory) as served, dns_servers() as (nameserver,):
        yield Workload(directory, served, nameserver)
