"""The supervisor: starts the cluster, keeps it running, and stops it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from grpcmesh.clock import monotonic
from local.addresses import check_free, choose
from local.auxiliary import Auxiliaries
from local.backoff import BackoffConfig
from local.catalog import Catalog, ServiceSpec
from local.certs import Certificates, Issued
from local.changes import Changes
from local.deployment import Deployment, RolloutConfig
from local.dns import DnsServer, Record, Zone
from local.environment import Surroundings
from local.errors import ClusterError, describe
from local.events import Event, Journal, Listener
from local.forward import Forwarder
from local.keys import ensure_signing_key, install_policy
from local.leases import Leases
from local.logs import keep_bounded, last_lines
from local.options import DEFAULT_PORT, Options
from local.probes import HealthClient, ProbeConfig
from local.process import Process
from local.prometheus import Target
from local.replica import Replica
from local.state import StateDir
from local.tasks import all_of, unless

_RENEWAL_CHECK = 30.0
_MIGRATION_TIMEOUT = 120.0
_LAST_GRACE = 10.0


class Supervisor:
    """One cluster, from start to end.

    Args:
        options: The options of the command line.
        catalog: The services.
        environ: The environment, passed on to the services.
        listener: Called with each event.
        probes: The thresholds of readiness and liveness.
        rollout: The timing of scaling and restarts.
        backoff: The backoff of restarts.
        migrate: The program that runs before services with a database; empty for none.
        console: The program of the console; empty for none.
    """

    def __init__(
        self,
        options: Options,
        catalog: Catalog,
        environ: Mapping[str, str],
        listener: Listener,
        *,
        probes: ProbeConfig | None = None,
        rollout: RolloutConfig | None = None,
        backoff: BackoffConfig | None = None,
        migrate: tuple[str, ...] = ("-m", "services.migrate"),
        console: tuple[str, ...] = ("-m", "meshmart.console"),
    ) -> None:
        options.check(catalog)
        self.options, self.catalog, self._environ = options, catalog, environ
        self._listener, self._migrate = listener, migrate
        self._probes, self._rollout = probes or ProbeConfig(), rollout or RolloutConfig()
        self._backoff = backoff or BackoffConfig()
        self.state = StateDir(options.state_dir)
        self.changes = Changes()
        self.stopping = asyncio.Event()
        """Set it to stop the cluster."""
        self.drained = asyncio.Event()
        """Set when no process is left."""
        self.journal = Journal(self.state.log("supervisor"))
        self.loopback = choose(environ, options.port or DEFAULT_PORT)
        self.dns = DnsServer(Zone(self._records))
        self.forwarder = Forwarder(self._backends)
        self.certificates = Certificates(self.state, catalog, options.rotate_every)
        self.deployments: dict[str, Deployment] = {}
        self.auxiliaries = Auxiliaries(self.state, environ, self.tell, console)
        self.leases = Leases(lambda text: self.tell(text, notable=True))
        """The disturbances that are undone unless they are renewed."""
        self._renewing = asyncio.Lock()
        self.started = False
        self._group: asyncio.TaskGroup | None = None
        self._background: list[asyncio.Task[None]] = []

    async def run(self, ready: Callable[[], None]) -> None:
        """Start everything, call `ready`, and return when everything has ended after `stopping` was set.

        Raises:
            ClusterError: the cluster does not start; then nothing is left running.
            OSError: a file or the network cannot be used.
        """
        problem: ClusterError | OSError | None = None
        async with asyncio.TaskGroup() as self._group:
            try:
                await unless(self.stopping, self._start())
                self.started = True
                ready()
                await self.stopping.wait()
            except (ClusterError, OSError) as e:
                problem = None if self.stopping.is_set() else e
            finally:
                self.stopping.set()
                await self._shut_down()
        if problem:
            raise problem

    def tell(self, text: str, notable: bool = False) -> None:
        """Record an event that nobody requested."""
        self.journal.write(text)
        self.changes.notify()
        if notable and self.started:
            self._listener(Event("notice", text))

    def step(self, text: str) -> None:
        """Report progress."""
        self.journal.write(text)
        self._listener(Event("step", text))

    def kill_all(self) -> None:
        """Kill all replicas without draining."""
        for replica in self.replicas():
            replica.kill()

    def environment(self, spec: ServiceSpec, number: int) -> dict[str, str]:
        """Return all variables of one replica's process."""
        return self.surroundings.replica(spec, number, self.loopback.place(spec, number))

    def replicas(self) -> list[Replica]:
        return [r for d in self.deployments.values() for r in d.replicas()]

    # Coming up

    async def _start(self) -> None:
        self.forwarder.bind(self.options.port)
        counts = {s.name: self.options.replicas.get(s.name, s.replicas) for s in self.catalog.values()}
        self._check_addresses(counts)
        self._issue()
        await self.dns.start()
        for auxiliary in self.auxiliaries.plan():
            self._keep(auxiliary.run())
        self.surroundings = self._surround()
        self.deployments = {s.name: self._deployment(s) for s in self.catalog.values()}
        await self.forwarder.start()
        first = [s for s in self.catalog.values() if s.first]
        self._launch([s for s in first if not s.stores], counts)
        await self._run_migrations()
        self._launch([s for s in first if s.stores], counts)
        self._keep(keep_bounded(self.state.logs))
        self._keep(self._renew())
        self._keep(self.leases.run())
        self._keep(self._scrape())
        await self._ready(first, counts)
        for auxiliary in self.auxiliaries.plan_console():
            self._keep(auxiliary.run())
        later = [s for s in self.catalog.values() if not s.first]
        self._launch(later, counts)
        await all_of(self._ready(later, counts), self.auxiliaries.wait_ready(self._rollout.ready_timeout))

    def _check_addresses(self, counts: Mapping[str, int]) -> None:
        places = [
            (s, self.loopback.place(s, n + 1)) for s in self.catalog.values() for n in range(counts[s.name])
        ]
        check_free((place.host, port) for spec, place in places for port in place.ports(spec))

    def _issue(self) -> None:
        written = self.certificates.prepare()
        ensure_signing_key(self.state)
        install_policy(self.state)
        self.step(
            f"certificates: {written} written to {self.state.certs}"
            if written
            else "certificates: still good"
        )

    def _surround(self) -> Surroundings:
        return Surroundings(
            self.state,
            self._environ,
            nameserver=f"127.0.0.1:{self.dns.port}",
            resolver_kind=self.loopback.resolver_kind,
            otlp=self.auxiliaries.otlp,
            traces=self.auxiliaries.traces or "",
        )

    def _launch(self, specs: list[ServiceSpec], counts: Mapping[str, int]) -> None:
        for spec in specs:
            self.deployments[spec.name].start(counts[spec.name])

    async def _ready(self, specs: list[ServiceSpec], counts: Mapping[str, int]) -> None:
        """Wait until all replicas of these services are ready."""
        waiting = [(self.deployments[s.name], counts[s.name]) for s in specs if counts[s.name]]
        await all_of(*(d.wait_ready(range(1, count + 1), self.step) for d, count in waiting))

    async def _run_migrations(self) -> None:
        if not self._migrate:
            return
        started = monotonic()
        log = self.state.log("migrate")
        process = await Process.start(self._migrate, self.surroundings.task(), log)
        try:
            async with asyncio.timeout(_MIGRATION_TIMEOUT):
                status = await process.wait()
        except TimeoutError as e:
            raise ClusterError(f"the database migrations take longer than {_MIGRATION_TIMEOUT:.0f} s") from e
        finally:
            process.kill()
            await process.wait()
        if status:
            raise ClusterError(f"the database migrations failed; see {log}", last_lines(log))
        self.step(f"databases: migrated and seeded in {monotonic() - started:.1f} s")

    def _deployment(self, spec: ServiceSpec) -> Deployment:
        return Deployment(spec, self._replica, lambda r: self._keep(r.run()), self.changes, self._rollout)

    def _replica(self, spec: ServiceSpec, number: int) -> Replica:
        place = self.loopback.place(spec, number)
        environment = self.environment(spec, number)
        log = self.state.log(f"{spec.name}-{number}")

        async def launch() -> Process:
            return await Process.start(["-m", spec.module], environment, log)

        prober = HealthClient(place.at(place.health), self._probes.timeout)
        return Replica(spec, number, place, launch, prober, self.tell, log, self._probes, self._backoff)

    # Staying up

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Own a task until the cluster stops. An error in it stops the cluster, with its traceback."""
        assert self._group is not None
        task = self._group.create_task(work)
        self._background.append(task)
        task.add_done_callback(self._background.remove)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(min(self.certificates.next_due(), _RENEWAL_CHECK))
            try:
                for issued in await self._write(self.certificates.renew_due):
                    self.tell(f"certificate of {issued.workload} renewed: serial {issued.serial:x}")
            except OSError as e:
                self.tell(f"certificates cannot be renewed ({describe(e)})", notable=True)
                await asyncio.sleep(_RENEWAL_CHECK)

    async def rotate(self) -> list[Issued]:
        """Write new certificates for all workloads."""
        return await self._write(self.certificates.rotate)

    async def _write(self, issue: Callable[[], list[Issued]]) -> list[Issued]:
        async with self._renewing:
            return await asyncio.to_thread(issue)

    async def _scrape(self) -> None:
        """Keep Prometheus' list of targets up to date. It includes replicas that are not ready."""
        told: frozenset[Target] | None = None
        while True:
            now = frozenset(Target(r.spec.name, r.name, r.place.at(r.place.admin)) for r in self.replicas())
            if now != told:
                told = now
                try:
                    self.auxiliaries.scrape(now)
                except OSError as e:
                    self.tell(f"Prometheus cannot be told what to scrape ({describe(e)})", notable=True)
            await self.changes.change()

    def _records(self) -> dict[str, list[Record]]:
        return {
            name: [Record(r.name, r.place.host, r.place.mesh) for r in deployment.ready()]
            for name, deployment in self.deployments.items()
        }

    def _backends(self) -> list[tuple[str, int]]:
        web = [d for d in self.deployments.values() if d.spec.web]
        return [(r.place.host, r.place.http) for d in web for r in d.ready()]

    # Going down

    async def _shut_down(self) -> None:
        """Stop everything: callers before their callees, and last what records them."""
        self.forwarder.close()
        if self.deployments:
            self.step("draining")
        web = [d for d in self.deployments.values() if d.spec.web]
        await all_of(*(d.stop(_LAST_GRACE) for d in web))
        await all_of(*(d.stop(_LAST_GRACE) for d in self.deployments.values()))
        await self.auxiliaries.stop(_LAST_GRACE)
        await self.forwarder.aclose()
        await self.dns.aclose()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self.drained.set()
