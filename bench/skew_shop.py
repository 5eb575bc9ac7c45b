"""The embedded cluster with replicas of two releases, for bench/skew.py: which code each replica runs."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpcmesh.ca import write_atomically
from local.catalog import SHOP, ServiceSpec
from local.control import ControlServer
from local.deployment import RolloutConfig
from local.errors import ClusterError
from local.events import Event, Report
from local.operations import Operations
from local.options import Options
from local.probes import ProbeConfig
from local.process import Process
from local.replica import Replica
from local.state import Lock
from local.supervisor import Supervisor

#: Seconds that a replica may take to start, on a machine that other work keeps busy.
READY_TIMEOUT = 240.0
#: Seconds that the migrations of all services may take.
MIGRATION_TIMEOUT = 300.0


@dataclass(frozen=True)
class Release:
    """A work tree of this project."""

    name: str
    tree: Path
    python: str
    """The interpreter that runs it, of an environment with the packages that its locks name."""

    @property
    def policy(self) -> str:
        return (self.tree / "services/policy.toml").read_text()

    def environment(self) -> dict[str, str]:
        """Return the variables that make `python -m` run this tree."""
        places = (self.tree, self.tree / "mesh/src", self.tree / "protos")
        return {"PYTHONPATH": os.pathsep.join(map(str, places))}


class MixedSupervisor(Supervisor):
    """A supervisor whose replicas run one of two releases; `release_of` says which a new process gets.

    Each release has a policy file of its own: on Kubernetes a new pod reads the new ConfigMap at once, and an
    old one up to two minutes later.

    Args:
        before: The release that the shop starts with.
        options: The options of the cluster.
        environ: The environment of all processes.
    """

    def __init__(self, before: Release, options: Options, environ: Mapping[str, str]) -> None:
        rollout = RolloutConfig(ready_timeout=READY_TIMEOUT)
        # A replica that a busy machine holds up is not taken for hung.
        probes = ProbeConfig(timeout=15, startup_timeout=READY_TIMEOUT)
        super().__init__(
            options,
            SHOP,
            {**environ, **before.environment()},
            _show,
            probes=probes,
            rollout=rollout,
            migrate=(),
        )
        self._before = before
        self.release_of = dict.fromkeys(SHOP, before)
        #: Further variables of a service's new processes.
        self.settings: dict[str, dict[str, str]] = {name: {} for name in SHOP}

    async def _run_migrations(self) -> None:
        self.set_policy(self._before, self._before.policy)
        await self.migrate(self._before)

    async def migrate(self, release: Release) -> None:
        """Run a release's migrations. Raises ClusterError if they fail."""
        process = await self._program(release, ["-m", "services.migrate"], {}, "migrate")
        try:
            async with asyncio.timeout(MIGRATION_TIMEOUT):
                status = await process.wait()
        finally:
            process.kill()
            await process.wait()
        if status:
            raise ClusterError(f"the migrations of {release.name} failed; see {self.state.log('migrate')}")

    def set_policy(self, readers: Release, policy: str) -> None:
        """Replace the policy that the replicas of `readers` load."""
        write_atomically(self.state.path / f"policy-{readers.name}", {"policy.toml": policy.encode()})

    def _replica(self, spec: ServiceSpec, number: int) -> Replica:
        made = super()._replica(spec, number)

        async def launch() -> Process:
            environment = self.surroundings.replica(spec, number, made.place)
            # The forwarder of the other release would send a line of the PROXY protocol; here clients connect
            # to the replicas themselves, as through a Service.
            environment.pop("MESHMART_TRUSTED_PROXIES", None)
            release = self.release_of[spec.name]
            if release is self._before:
                environment.pop("MESH_SERVER_ERROR_DOMAIN", None)  # an older library has no such setting
            environment |= self.settings[spec.name] if release is not self._before else {}
            return await self._program(release, ["-m", spec.module], environment, made.name)

        made._launch = launch
        return made

    async def _program(
        self, release: Release, program: list[str], environment: Mapping[str, str], log: str
    ) -> Process:
        variables = environment or self.surroundings.task()
        own = {"MESH_AUTHZ_POLICY_FILE": str(self.state.path / f"policy-{release.name}" / "policy.toml")}
        with self.state.log(log).open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(release.python, "-m", "local.child", str(os.getpid()), *program),
                cwd=release.tree,  # the first place that `-m` looks at
                env={**variables, **release.environment(), **(own if environment else {})},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return Process(process)

    async def replace(self, service: str, release: Release, report: Report) -> None:
        """Replace a service's replicas by those of a release, one after another, as a rollout does."""
        self.release_of[service] = release
        await self.deployments[service].restart(report)

    async def replace_by_kill(self, service: str, release: Release, report: Report) -> None:
        """Kill a service's replicas one after another, each time until the new process is in service."""
        self.release_of[service] = release
        deployment = self.deployments[service]
        for replica in deployment.replicas():
            before = replica.restarts
            replica.kill()
            report(f"kill -9 of {replica.name}")
            await self.changes.until(lambda r=replica, b=before: r.restarts > b, READY_TIMEOUT)  # type: ignore[misc]
            await deployment.wait_ready([replica.number], report)
            await asyncio.sleep(RolloutConfig().min_ready)

    def web_addresses(self) -> list[str]:
        """Return the addresses of the ready storefronts."""
        return [f"http://{host}:{port}" for host, port in self._backends()]


@contextlib.asynccontextmanager
async def running(supervisor: MixedSupervisor) -> AsyncIterator[MixedSupervisor]:
    """Run the supervisor, with its control socket, until the end of the block."""
    supervisor.state.prepare()
    lock = Lock(supervisor.state.lock)
    if not lock.acquire():
        raise ClusterError(f"a cluster is running in {supervisor.state.path} already")
    control = ControlServer(supervisor.state.socket, Operations(supervisor).handle)
    await control.start()
    ready = asyncio.Event()
    task = asyncio.create_task(supervisor.run(ready.set))
    try:
        up = asyncio.create_task(ready.wait())
        await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if task.done():
            task.result()
        yield supervisor
    finally:
        supervisor.stopping.set()
        await asyncio.gather(task, return_exceptions=True)
        await control.aclose()
        lock.release()


def _show(event: Event) -> None:
    print(f"       {event.text}", flush=True)


def quiet(_: Any) -> None:
    """Report nothing."""
