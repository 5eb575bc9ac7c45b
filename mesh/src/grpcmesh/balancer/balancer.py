"""Decides which endpoints are in rotation, and what to do when none is. Pure: no sockets, no waiting."""

import enum
from collections.abc import Iterable
from typing import Protocol

from grpcmesh.balancer.endpoint import SOURCES, Endpoint, State
from grpcmesh.balancer.narrowing import Narrowing, Zones
from grpcmesh.balancer.orca import LoadReport
from grpcmesh.balancer.own import OwnPolicy, PolicyFactory
from grpcmesh.balancer.policies import make_policy
from grpcmesh.balancer.policy import Policy, SlowStart
from grpcmesh.call import ClientCall
from grpcmesh.clock import Clock, Rng, monotonic, system_rng
from grpcmesh.config import BalancerConfig
from grpcmesh.service_config import LoadBalancing, PolicyName


class Verdict(enum.Enum):
    """Says what a call should do when there is nothing to pick."""

    #: Wait: the first look-up or a connection is under way.
    WAIT = "wait"
    #: Fail: every endpoint has failed, or there is none any more.
    FAIL = "fail"


class Ejections(Protocol):
    """The part of outlier detection that the balancer uses (`grpcmesh.outlier.Outliers`)."""

    def replace(self, ready: Iterable[Endpoint], known: Iterable[Endpoint]) -> None:
        """Replace the endpoints. `ready`: those that are ready; `known`: all of them."""

    def ejected(self, endpoint: Endpoint) -> bool:
        """Return whether the endpoint is out of rotation, so that it only gets probes."""

    def probe(self, idempotent: bool) -> Endpoint | None:
        """Return an endpoint that this call shall probe, or None."""

    def stalled(self, endpoint: Endpoint) -> bool:
        """Return whether the endpoint has stopped answering, so that another one has to be picked."""


class Balancer:
    """Keeps the endpoints of one target and picks among those in rotation.

    Args:
        config: Settings of the process.
        target: Short name of the service, for which `config` may set a policy.
        ejections: Outlier detection. If None, no endpoint is ejected.
        balancing: Policy from the service config. If None, the policy of `config` is used.
        own: Makes the application's own policy, which replaces any other.
    """

    def __init__(
        self,
        config: BalancerConfig,
        target: str,
        clock: Clock = monotonic,
        rng: Rng | None = None,
        ejections: Ejections | None = None,
        balancing: LoadBalancing | None = None,
        own: PolicyFactory | None = None,
    ) -> None:
        self._own = own
        self._ejections = ejections
        self._config, self._clock, self._rng = config, clock, rng or system_rng()
        self.endpoints: dict[str, Endpoint] = {}
        #: The endpoints that calls are spread over: ready and not ejected.
        self.rotation: list[Endpoint] = []
        self._target = target
        self._zones = Zones(config.zone, config.zone_min_endpoints) if config.zone else None
        self._slow_start = SlowStart(config.slow_start, clock)
        self._known = False
        #: Number of load reports, by source.
        self.reports = dict.fromkeys(SOURCES, 0)
        self.configure(balancing)

    def configure(self, balancing: LoadBalancing | None) -> None:
        """Change the policy or its parameters. The endpoints stay; the old policy's state is lost."""
        default: PolicyName = self._config.targets.get(self._target, self._config.policy)
        balancing = balancing or LoadBalancing(default)
        #: The name of the policy in force.
        self.policy_name = getattr(self._own, "__name__", "own") if self._own else str(balancing.policy)

        def make() -> Policy:
            if self._own is not None:
                return OwnPolicy(self._own, self._slow_start, self._clock, self._rng)
            return make_policy(balancing, self._config, self._slow_start, self._clock, self._rng)

        self.policy = make()
        self._narrowing = Narrowing(make, self._zones, self._rng)
        #: Set while some calls may not go to every endpoint in rotation.
        self._narrow: Narrowing | None = None
        if self.rotation:
            self._update()

    def replace(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace the set of endpoints. An endpoint in both sets keeps its state."""
        self.endpoints = {e.address: e for e in endpoints}
        self._known = self._known or bool(self.endpoints)
        self._rotate()

    def set_state(self, endpoint: Endpoint, state: State, error: str = "") -> bool:
        """Record an endpoint's state. Return whether it differs from the last one."""
        endpoint.error = error
        if endpoint.state is state:
            return False
        endpoint.state = state
        if state is State.READY:
            self._slow_start.begin(endpoint)
        self._rotate()
        return True

    def pick(
        self, avoid: Endpoint | None = None, call: ClientCall | None = None, idempotent: bool = False
    ) -> Endpoint | None:
        """Pick an endpoint in rotation for this call, or None.

        Args:
            avoid: An endpoint that has just failed. Another one is picked if there is any.
            call: The call, whose method and metadata some policies use.
            idempotent: Whether the call may be tried again, so that it may probe an ejected endpoint.
        """
        if not self.rotation:
            return None
        ejections = self._ejections
        endpoint = ejections.probe(idempotent) if ejections is not None else None
        if endpoint is None or endpoint is avoid or not _serves(endpoint, call):
            while True:
                policy = self.policy if self._narrow is None else self._narrow.policy(avoid, call)
                if policy is None:
                    return None
                endpoint = policy.pick(avoid, call)
                if ejections is None or not ejections.stalled(endpoint):
                    break  # else the rotation is smaller by one
        endpoint.picks += 1
        return endpoint

    def reported(self, endpoint: Endpoint, report: LoadReport) -> None:
        """Count an endpoint's load report and pass it to the policy."""
        self.reports[SOURCES[endpoint.out_of_band]] += 1
        self.policy.reported(endpoint, report)

    def rotate(self) -> None:
        """Recompute the rotation. Called when an endpoint was ejected or may return."""
        self._rotate()

    @property
    def verdict(self) -> Verdict:
        """Return what calls should do while the rotation is empty.

        Until the first endpoint has been seen, calls wait: at process start a name may not exist yet.
        """
        if not self._known or any(e.state is State.CONNECTING for e in self.endpoints.values()):
            return Verdict.WAIT
        return Verdict.FAIL

    def set_serving(self, endpoint: Endpoint, service: str, serving: bool) -> bool:
        """Record whether an endpoint serves one service. Return whether that has changed."""
        before = endpoint.not_serving
        endpoint.not_serving = before - {service} if serving else before | {service}
        if endpoint.not_serving == before:
            return False
        self._rotate()
        return True

    def set_zone(self, endpoint: Endpoint, zone: str) -> None:
        """Record the zone of an endpoint."""
        if endpoint.zone != zone:
            endpoint.zone = zone
            self._rotate()

    def zones(self) -> dict[str, str | float]:
        """Return, for the admin page, the preferred zone and the share of calls that now stays in it."""
        if self._zones is None:
            return {}
        return {"preferred": self._zones.zone, "share": round(self._narrowing.share, 3)}

    def why(self, service: str = "") -> str:
        """Return why there is no endpoint for calls of a service, for the details of an error."""
        if self.rotation:
            return f"no endpoint of {self._target} serves {service}: {len(self.rotation)} say NOT_SERVING"
        if not self.endpoints:
            return f"no endpoint of {self._target} is known"
        states = "; ".join(
            f"{e.address} {e.state.value}{_because(e)}" for e in list(self.endpoints.values())[:3]
        )
        return f"no endpoint of {self._target} is ready: {states}"

    def _rotate(self) -> None:
        ready = [e for e in self.endpoints.values() if e.state is State.READY]
        if self._ejections is not None:
            self._ejections.replace(ready, self.endpoints.values())
            # An endpoint that fails is better than none: those that are left may be gone by now.
            ready = [e for e in ready if not self._ejections.ejected(e)] or ready
        changed, self.rotation = ready != self.rotation, ready
        self._update(changed)

    def _update(self, changed: bool = True) -> None:
        narrow = self._narrowing.update(self.rotation, self.endpoints.values())
        self._narrow = self._narrowing if narrow else None
        if changed:
            self.policy.update(self.rotation)  # last: what warms up is compared with all

    def __repr__(self) -> str:
        return f"<{self.policy_name} of {self._target}: {list(self.endpoints.values())}>"


def _serves(endpoint: Endpoint, call: ClientCall | None) -> bool:
    return not endpoint.not_serving or call is None or call.method.service not in endpoint.not_serving


def _because(endpoint: Endpoint) -> str:
    return f" ({endpoint.error})" if endpoint.error else ""
