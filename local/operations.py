"""Executes the verbs of the control socket on a running supervisor."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from local.catalog import CLUSTER_DOMAIN, MESH_PORT, NAMESPACE, OPERATOR
from local.certs import Issued
from local.deployment import Deployment
from local.dns import Outage
from local.environment import MESH_VARIABLES
from local.errors import ClusterError
from local.events import Report
from local.leases import LONGEST
from local.options import DEFAULT_PORT
from local.presented import presented_serial
from local.replica import Replica
from local.supervisor import Supervisor
from local.tasks import all_of, unless, until
from local.words import plural

_PRESENTED_TIMEOUT = 60.0
_PRESENTED_POLL = 0.3
_KILL_TIMEOUT = 30.0
#: The name of the lease of a DNS outage.
_DNS = "the outage of DNS"


class Operations:
    """Dispatches requests.

    Args:
        supervisor: The supervisor to operate.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def handle(self, request: dict[str, Any], report: Report) -> Any:
        """Execute a request and return its result, which can be encoded as JSON.

        Raises:
            ClusterError: it cannot be done, or the cluster stops meanwhile.
        """
        match request:
            case {"verb": "status"}:
                return self.status()
            case {"verb": "environment", "service": str(service), "replica": int(replica)}:
                return self._environment(self._deployment(service).replica(replica))
            case {"verb": "down"}:
                return await self._down(report)
        if not self._supervisor.started:
            raise ClusterError("the cluster is still starting, or already stopping")
        self._supervisor.journal.write(f"asked to {request}")
        work = self._change(request, report)
        return await unless(self._supervisor.stopping, work)

    async def _change(self, request: dict[str, Any], report: Report) -> Any:
        match request:
            case {"verb": "scale", "service": str(service), "replicas": int(replicas), **rest}:
                return await self._scale(self._deployment(service), replicas, _lease(rest), report)
            case {"verb": "restore", "service": str(service)}:
                return await self._restore(self._deployment(service), report)
            case {"verb": "renew", "service": str(service), **rest}:
                return self._renew(self._deployment(service), rest)
            case {"verb": "restart", "service": str(service)}:
                return await self._deployment(service).restart(report)
            case {"verb": "kill", "service": str(service), "replica": int(replica)}:
                return await self._kill(self._deployment(service).replica(replica))
            case {"verb": "pause", "service": str(service), "replica": int(replica), **rest}:
                return self._pause(self._deployment(service), replica, _lease(rest))
            case {"verb": "resume", "service": str(service), "replica": int(replica)}:
                return self._resume(self._deployment(service).replica(replica))
            case {"verb": "rotate"}:
                return await self._rotate(report)
            case {"verb": "break_dns", "outage": ("silent" | "servfail") as outage, **rest}:
                return self._break_dns(outage, _lease(rest))
            case {"verb": "mend_dns"}:
                return self._mend_dns()
        raise ClusterError(f"not a request: {request}")

    def status(self) -> dict[str, Any]:
        """Return the status in the form of `meshmart status --json`."""
        s = self._supervisor
        return {
            "dns": f"127.0.0.1:{s.dns.port}",
            "storefront": f"http://127.0.0.1:{s.forwarder.port}",
            "prometheus": s.auxiliaries.prometheus,
            "traces": s.auxiliaries.traces,
            "console": s.auxiliaries.console,
            "resolver": s.loopback.resolver_kind,
            "services": {
                name: _service(deployment, s.options.port)
                | {"renew_before": s.certificates.renew_before(name)}
                for name, deployment in s.deployments.items()
            },
        }

    def _environment(self, replica: Replica) -> dict[str, str]:
        """Return what a process needs to look at the mesh as this replica does."""
        everything = self._supervisor.environment(replica.spec, replica.number)
        return {name: value for name, value in everything.items() if name.startswith(MESH_VARIABLES)}

    async def _down(self, report: Report) -> None:
        report("draining")
        self._supervisor.stopping.set()
        await self._supervisor.drained.wait()

    async def _kill(self, replica: Replica) -> int:
        restarts = replica.restarts
        pid = _process_of(replica, Replica.kill)
        await self._supervisor.changes.until(lambda: replica.restarts > restarts, _KILL_TIMEOUT)
        return pid

    def _pause(self, deployment: Deployment, number: int, lease: float | None) -> int:
        """Pause a replica's process. With a lease, it is resumed when nobody renews the lease."""
        replica = deployment.replica(number)
        pid = _process_of(replica, Replica.pause)

        async def undo() -> None:
            # The service may have been scaled since, and then another replica has this number, or none.
            for present in deployment.replicas():
                if present.number == number:
                    present.resume()

        if lease is None:
            self._supervisor.leases.drop(_hang_of(replica.name))
        else:
            self._supervisor.leases.hold(_hang_of(replica.name), lease, undo)
        return pid

    def _resume(self, replica: Replica) -> int:
        self._supervisor.leases.drop(_hang_of(replica.name))
        return _process_of(replica, Replica.resume)

    def _break_dns(self, outage: Outage, lease: float | None) -> None:
        """Let the DNS server fail. Requires a lease, and ends when nobody repeats the request."""
        if lease is None:
            raise ClusterError("break_dns: needs a lease")
        zone = self._supervisor.dns.zone

        async def undo() -> None:
            zone.outage = None

        zone.outage = outage
        self._supervisor.leases.hold(_DNS, lease, undo)

    def _mend_dns(self) -> None:
        self._supervisor.leases.drop(_DNS)
        self._supervisor.dns.zone.outage = None

    async def _scale(
        self, deployment: Deployment, replicas: int, lease: float | None, report: Report
    ) -> None:
        """Scale a service.

        Without a lease the change is permanent, and ends a lease on the number of replicas.
        """
        leases, what = self._supervisor.leases, _count_of(deployment)
        deployment.check(replicas)  # a number that is refused ends no lease
        if lease is None:
            leases.drop(what)
        else:
            # Not the replicas of this moment: a restart or the end of another lease may be under way.
            leases.hold(what, lease, lambda: deployment.scale(deployment.lasting, self._supervisor.tell))
        await deployment.scale(replicas, report, for_now=lease is not None)

    async def _restore(self, deployment: Deployment, report: Report) -> int:
        """Restore the number of replicas from before a lease, if there is one.

        Return the number of replicas. If that fails, it is tried again later.
        """
        what = _count_of(deployment)
        if what in self._supervisor.leases:
            report(f"{deployment.spec.name} as before")
            await self._supervisor.leases.end(what)
        return len(deployment.replicas())

    def _renew(self, deployment: Deployment, request: Mapping[str, Any]) -> bool:
        """Renew the lease of a pause, or of the number of replicas.

        Return False if there is none: somebody else has ended the pause, or has scaled the service.
        """
        number, leases = request.get("replica"), self._supervisor.leases
        if number is None:
            what, holds = _count_of(deployment), deployment.wanted == request.get("replicas")
        else:
            found = [r for r in deployment.replicas() if r.number == number and r.paused]
            what, holds = _hang_of(f"{deployment.spec.name}-{number}"), bool(found)
        if not holds or what not in leases:
            return False
        leases.hold(what, _lease(request) or 0.0, _nothing)
        return True

    async def _rotate(self, report: Report) -> dict[str, Any]:
        """Renew every certificate, then wait until each replica presents its own.

        Raises:
            ClusterError: a replica does not present it in time.
        """
        issued = await self._supervisor.rotate()
        serials = {i.workload: i for i in issued}
        report(f"{plural(len(issued), 'certificate')} written")
        replicas = [r for r in self._supervisor.replicas() if r.ready and not r.spec.web]
        try:
            async with asyncio.timeout(_PRESENTED_TIMEOUT):
                await all_of(*(self._presented(r, serials[r.spec.name]) for r in replicas))
        except TimeoutError as e:
            raise ClusterError(
                f"written, but after {_PRESENTED_TIMEOUT:.0f} s not every replica presents its own"
            ) from e
        report(f"presented by {plural(len(replicas), 'replica')}")
        return {i.workload: f"{i.serial:x}" for i in issued}

    async def _presented(self, replica: Replica, issued: Issued) -> None:
        name = f"{replica.spec.name}.{NAMESPACE}.svc.{CLUSTER_DOMAIN}"
        directory = self._supervisor.state.certs / OPERATOR
        host, port = replica.place.host, replica.place.mesh

        async def presented() -> bool:
            # A replica that is just being restarted reads the new one anyway.
            return not replica.ready or await presented_serial(host, port, name, directory) == issued.serial

        await until(presented, _PRESENTED_POLL)

    def _deployment(self, service: str) -> Deployment:
        deployments = self._supervisor.deployments
        if service not in deployments:
            raise ClusterError(f"there is no service {service!r}; there are {', '.join(deployments)}")
        return deployments[service]


async def _nothing() -> None:
    """Do nothing. Renewing a lease keeps the `undo` of its first call."""


def _hang_of(replica: str) -> str:
    return f"the hang of {replica}"


def _count_of(deployment: Deployment) -> str:
    return f"the number of replicas of {deployment.spec.name}"


def _lease(request: Mapping[str, Any]) -> float | None:
    """Return the seconds of a request's lease, or None if it has none.

    Raises ClusterError if it is not valid.
    """
    lease = request.get("lease")
    if lease is None:
        return None
    if not isinstance(lease, int | float) or not 0 < lease <= LONGEST:
        raise ClusterError(f"lease: {lease!r}: must be above 0 and at most {LONGEST:g} s")
    return float(lease)


def _process_of(replica: Replica, act: Callable[[Replica], int | None]) -> int:
    """Apply `act` to a replica's process, and return the process id.

    Raises ClusterError if it has none now.
    """
    pid = act(replica)
    if pid is None:
        raise ClusterError(f"{replica.name} has no process just now: it waits for its restart")
    return pid


def _service(deployment: Deployment, http_port: int) -> dict[str, Any]:
    replicas = deployment.replicas()
    port = http_port or DEFAULT_PORT if deployment.spec.web else MESH_PORT
    return {"port": port, "replicas": [_replica(r) for r in replicas]}


def _replica(replica: Replica) -> dict[str, Any]:
    place = replica.place
    return {
        "id": replica.number,
        "address": place.host,
        # With one address for all, each replica has its own port.
        "port": place.http if replica.spec.web else place.mesh,
        "pid": replica.pid,
        "ready": replica.ready,
        "draining": replica.stopping,
        "restarts": replica.restarts,
        "metrics": f"http://{place.at(place.admin)}/metrics",
        "health": place.at(place.health),
    }
