"""Implements the Cluster port on Kubernetes, from inside one of its pods: the toolbox."""

import asyncio
import contextlib
import datetime
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from local.catalog import CLUSTER_DOMAIN, NAMESPACE, OPERATOR
from local.errors import ClusterError, LeaseEndedError, NoAnswerError
from local.events import Report
from local.tasks import until
from meshmart import scrape
from meshmart.alone import alone
from meshmart.cluster import Replica, find_replica
from meshmart.kubernetes import leasing, objects
from meshmart.kubernetes.api import Api, ApiError, Object
from meshmart.kubernetes.conflicts import repeated
from meshmart.kubernetes.status import status
from meshmart.kubernetes.watching import KINDS, Copies
from meshmart.leases import LEASE, Leases

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

    from grpcmesh.member import Member

T = TypeVar("T")

#: Seconds that an operation of Kubernetes may take, including images, probes and drains.
_PATIENCE = 240.0
#: The same for a rollout, which takes a pod's start and minReadySeconds for each replica. Kubernetes itself
#: reports one that is stuck (progressDeadlineSeconds); this limit is for pods that never end.
_ROLLOUT = 3600.0
_POLL = 0.2
#: The file that the one command that plays scenes has locked, and the seconds for which another one waits for
#: it: a command that was killed may leave a verb here that undoes what it disturbed (`meshmart.toolbox`).
_PLAYING, _ENDING = "meshmart-experiment.lock", 20.0
_RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"


def _quiet(_: str) -> None:
    return


class KubernetesCluster:
    """A release in a namespace.

    What disturbs a replica goes through its own fault service, as the operator; everything else through the
    API.

    Args:
        api: The API of the namespace.
        environ: The environment of this process. It has the domain and, in the toolbox, the directory of
            certificates.
        report: Called with each line of progress.
    """

    def __init__(self, api: Api, environ: Mapping[str, str] = os.environ, report: Report = _quiet) -> None:
        self._api, self._environ, self._report = api, environ, report
        domain = environ.get("MESH_CLUSTER_DOMAIN", CLUSTER_DOMAIN)
        self._domain, self._zone = f"{api.namespace}.svc.{domain}", f"{domain}."
        self._numbers = objects.Numbers()
        self._stack = contextlib.AsyncExitStack()
        self._member: Member | None = None
        self.leases = Leases(report)
        self._copies: Copies | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def of_this_pod(
        cls, report: Report = _quiet, watching: bool = False
    ) -> "AsyncIterator[KubernetesCluster]":
        """Yield the release whose toolbox or console this is.

        Args:
            report: Called with each line of progress.
            watching: Whether to watch the API, so that `status` asks for nothing and can be called often. It
                then has pods that are ending, too.

        Raises:
            ClusterError: this is not a pod.
        """
        async with Api.in_pod(os.environ.get("MESH_NAMESPACE", NAMESPACE)) as api:
            cluster = cls(api, report=report)
            async with cluster._stack, cluster.leases:
                if watching:
                    await cluster.watch()
                yield cluster

    async def watch(self) -> None:
        """Watch the API until this object's context ends: see `of_this_pod`."""
        self._copies = await self._stack.enter_async_context(Copies(self._api))

    @property
    def certificates(self) -> Path:
        return Path(self._environ.get("MESH_IDENTITY_DIRECTORY", "/var/run/mesh/certs/client")).parent

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        # The toolbox is one pod, in which every such command runs its verb.
        async with alone(Path(tempfile.gettempdir()) / _PLAYING, _ENDING):
            yield

    async def scale(self, service: str, replicas: int) -> None:
        await self._check_autoscaler(service)
        await self._change(service, leasing.forgotten(replicas))
        await self._scaled(service, replicas)

    async def scale_for_now(self, service: str, replicas: int) -> None:
        there = await self._deployment(service)
        if leasing.before(there) is None and there["spec"].get("replicas") == replicas:
            # There is nothing to restore. So an autoscaler that has chosen this number may stay.
            await self._scaled(service, replicas)
            return
        await self._check_autoscaler(service)

        async def take() -> None:
            deployment = await self._deployment(service)
            await self._change(service, leasing.taken(deployment, replicas, LEASE, time.time()))

        await repeated(take)

        async def renew() -> None:
            deployment = await self._deployment(service)
            if leasing.before(deployment) is None or deployment["spec"].get("replicas") != replicas:
                raise LeaseEndedError(f"somebody else has scaled {service}")
            await self._change(service, leasing.renewed(LEASE, time.time()))

        # Renewed from the start, because starting replicas may take longer than a lease.
        self.leases.hold(service, renew)
        await self._scaled(service, replicas)

    async def restore(self, service: str) -> None:
        self.leases.drop(service)
        if leasing.before(await self._deployment(service)) is None:
            return
        await self._check_autoscaler(service)
        before = await self._end_lease(service, leasing.ended)
        if before is not None:
            await self._scaled(service, before)

    async def restore_expired(self) -> list[str]:
        """Restore, without waiting for it, the services whose leases nobody renews. Return their names."""
        deployments = await self._api.list("deployments", objects.SERVICES)
        expired = [objects.name(d) for d in deployments if leasing.expired(d, time.time())]
        return [
            service
            for service in expired
            if await self._end_lease(service, lambda d: leasing.expired(d, time.time())) is not None
        ]

    async def _end_lease(self, service: str, end: Callable[[Object], dict[str, Any] | None]) -> int | None:
        """End the lease on a number of replicas with the patch that `end` returns, if it returns one. Return
        the number that this restored; None if it only forgot the lease.
        """
        restored: int | None = None

        async def once() -> None:
            nonlocal restored
            deployment = await self._deployment(service)
            if patch := end(deployment):
                await self._change(service, patch)
                restored = leasing.before(deployment)

        await repeated(once)
        return restored

    async def _check_autoscaler(self, service: str) -> None:
        if name := objects.autoscaler(await self._api.list("horizontalpodautoscalers"), service):
            raise ClusterError(
                f"the HorizontalPodAutoscaler {name} decides how many replicas {service} has; "
                f"install with services.{service}.autoscaling.enabled=false to scale by hand"
            )

    async def _scaled(self, service: str, replicas: int) -> None:
        async def look() -> bool:
            pods = await self._pods(service)
            # A pod that is leaving may be ready still, while the one that takes its place does not exist yet.
            return len(pods) == replicas and all(objects.ready(p) and not objects.leaving(p) for p in pods)

        await self._until(look, f"{service} has {replicas} ready replicas and no other")

    async def kill(self, service: str, replica: int) -> str:
        """Delete the pod after its process: if it restarted in place, it would run into CrashLoopBackOff."""
        from meshmart.faults import crash

        victim = await find_replica(self, service, replica)
        if victim.server_name:  # without a mesh server it has no fault service: the kubelet sends SIGKILL
            await crash(await self._operator(), service, victim)
        await self._api.delete("pods", victim.name, grace=0)

        async def look() -> bool:
            return victim.incarnation not in [p["metadata"]["uid"] for p in await self._pods(service)]

        await self._until(look, f"{service}/{replica} is gone")
        return victim.name

    async def pause(self, service: str, replica: int) -> None:
        from meshmart.faults import hang, hangs

        member, victim = await self._operator(), await find_replica(self, service, replica)

        async def renew() -> None:
            there = victim.name in {r.name for r in await self.endpoints(service)}
            if not (there and await hangs(member, service, victim)):
                raise LeaseEndedError(f"{victim.name} does not hang any more")
            await hang(member, service, victim, LEASE)

        await hang(member, service, victim, LEASE)
        self.leases.hold(f"{service}/{replica}", renew)

    async def resume(self, service: str, replica: int) -> None:
        from meshmart.faults import unhang

        self.leases.drop(f"{service}/{replica}")
        await unhang(await self._operator(), service, await find_replica(self, service, replica))

    async def restart(self, service: str) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat()
        await self._change(
            service, {"spec": {"template": {"metadata": {"annotations": {_RESTARTED_AT: now}}}}}
        )

        async def look() -> bool:
            done = objects.rolled_out(await self._api.get("deployments", service))
            return done and not any(objects.leaving(p) for p in await self._pods(service))

        await self._until(look, f"every replica of {service} is replaced", _ROLLOUT)

    async def rotate(self) -> Mapping[str, str]:
        from meshmart.kubernetes.renewal import Renewal

        return await Renewal(self._api, self.certificates, self._report).run()

    async def endpoints(self, service: str) -> list[Replica]:
        pods = [p for p in await self._pods(service) if not objects.leaving(p)]
        if not pods:
            await self._deployment(service)
        return [
            objects.replica(pod, number, self._server_name(service, pod))
            for number, pod in self._numbers.numbered(service, pods)
        ]

    async def metrics(self, service: str, replica: int) -> "Sequence[Sample]":
        found = await find_replica(self, service, replica)
        return await asyncio.to_thread(scrape.samples, found.metrics)

    async def logs(self, service: str, replica: int, lines: int) -> Sequence[str]:
        for number, pod in self._numbers.numbered(service, await self._with_logs(service)):
            if number == replica:
                text = await self._api.log(objects.name(pod), objects.container(pod), lines)
                return [line for line in text.split("\n") if line][-lines:]
        raise ClusterError(f"there is no {service}/{replica}")

    async def environment(self, identity: str = OPERATOR) -> Mapping[str, str]:
        return {
            "MESH_SERVICE": identity,
            "MESH_NAMESPACE": self._api.namespace,
            "MESH_IDENTITY_DIRECTORY": str(self.certificates / identity),
            "MESH_ADMIN_ADDRESS": "",
        }

    async def dns_ttl(self) -> float:
        """Return the TTL of CoreDNS' zone, which is the SOA's minimum; a cached answer has less left."""
        import dns.asyncresolver
        import dns.exception

        try:
            answer = await dns.asyncresolver.resolve(self._zone, "SOA", search=False, lifetime=5.0)
        except dns.exception.DNSException as e:
            raise ClusterError(f"DNS does not tell the TTL of {self._zone}: {e}") from None
        return float(answer[0].minimum)

    async def status(self) -> dict[str, Any]:
        deployments, pods, services = await asyncio.gather(*map(self._read, KINDS))
        if not deployments:
            raise ClusterError(f"there is no release of meshmart in namespace {self._api.namespace}")
        names = sorted(objects.name(d) for d in deployments)
        stay = [p for p in pods if not objects.leaving(p) or (self._copies and objects.draining(p))]
        numbered = {
            n: self._numbers.numbered(n, [p for p in stay if objects.service_of(p) == n]) for n in names
        }
        return status(deployments, numbered, services, self._domain)

    async def _read(self, kind: str) -> Sequence[Object]:
        return await (self._copies.read(kind) if self._copies else self._api.list(kind, KINDS[kind]))

    def _server_name(self, service: str, pod: Object) -> str:
        return f"{service}.{self._domain}" if objects.port(pod, "grpc") else ""

    async def _with_logs(self, service: str) -> list[Object]:
        """Return the pods of a service that have not ended. Where the API is watched, it is not asked."""
        pods = await (self._copies.read("pods") if self._copies else self._pods(service))
        own = (p for p in pods if objects.service_of(p) == service)
        return [p for p in own if not objects.leaving(p) or objects.draining(p)]

    async def _pods(self, service: str) -> list[Object]:
        """Return all pods of a service, including those that are ending."""
        return await self._api.list("pods", objects.selector(service))

    async def _deployment(self, service: str) -> Object:
        return await self._known(service, self._api.get("deployments", service))

    async def _change(self, service: str, body: Object, part: str = "") -> None:
        await self._known(service, self._api.patch("deployments", service, body, part))

    async def _known(self, service: str, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except ApiError as e:
            if e.code != 404:
                raise
        names = [objects.name(d) for d in await self._api.list("deployments", objects.SERVICES)]
        raise ClusterError(f"there is no service {service!r}; there are {', '.join(sorted(names)) or 'none'}")

    async def _operator(self) -> "Member":
        """Return this process as a member of the mesh, which it joins at the first use."""
        if self._member is None:
            from grpcmesh.config import MeshConfig
            from grpcmesh.member import Member

            environment = {k: v for k, v in self._environ.items() if k.startswith("MESH_")}
            config = MeshConfig.from_env(environment | dict(await self.environment()))
            self._member = await self._stack.enter_async_context(Member(config, sockets=False))
        return self._member

    async def _until(
        self, look: Callable[[], Awaitable[bool]], what: str, patience: float = _PATIENCE
    ) -> None:
        """Wait until `look` returns True. An API server that does not answer is asked again."""
        silence: NoAnswerError | None = None

        async def patient() -> bool:
            nonlocal silence
            try:
                return await look()
            except NoAnswerError as e:
                silence = e
                return False

        try:
            async with asyncio.timeout(patience):
                await until(patient, _POLL)
        except TimeoutError:
            why = f"; {silence}" if silence else ""
            raise ClusterError(f"waited {patience:g} s and it was not so: {what}{why}") from None
