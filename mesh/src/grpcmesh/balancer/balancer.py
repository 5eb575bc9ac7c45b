"""Which endpoints are in rotation, and what to do when none is. Pure: no sockets, no waiting."""

import enum
from collections.abc import Iterable
from typing import Protocol

from grpcmesh.balancer.endpoint import SOURCES, Endpoint, State
from grpcmesh.balancer.orca import LoadReport
from grpcmesh.balancer.policies import make_policy
from grpcmesh.balancer.policy import SlowStart
from grpcmesh.call import ClientCall
from grpcmesh.clock import Clock, Rng, monotonic, system_rng
from grpcmesh.config import BalancerConfig
from grpcmesh.service_config import LoadBalancing, PolicyName


class Verdict(enum.Enum):
    """What a call should do when there is nothing to pick."""

    #: Something is on its way: the first look-up, or a connection.
    WAIT = "wait"
    #: Every endpoint has failed, or there is none any more.
    FAIL = "fail"


class Ejections(Protocol):
    """Outlier detection, as the balancer asks it (`grpcmesh.outlier.Outliers`)."""

    def replace(self, endpoints: Iterable[Endpoint]) -> None:
        """These endpoints are ready."""

    def ejected(self, endpoint: Endpoint) -> bool:
        """Whether no call goes to the endpoint, but for a probe."""

    def probe(self, idempotent: bool) -> Endpoint | None:
        """Return an endpoint that this call shall probe, or None."""

    def stalled(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint has stopped answering, and another one is to be picked."""


class Balancer:
    """The endpoints of one target.

    Args:
        target: Short name of the service; it may have a policy of its own.
        ejections: Outlier detection; None: nothing is ejected.
        balancing: Of a service config; None: the policy of `config`.
    """

    def __init__(
        self,
        config: BalancerConfig,
        target: str,
        clock: Clock = monotonic,
        rng: Rng | None = None,
        ejections: Ejections | None = None,
        balancing: LoadBalancing | None = None,
    ) -> None:
        self._ejections = ejections
        self._config, self._clock, self._rng = config, clock, rng or system_rng()
        self.endpoints: dict[str, Endpoint] = {}
        #: Those that are picked from: ready, not ejected, and of the preferred zone if that has any.
        self.rotation: list[Endpoint] = []
        self._target, self._zone = target, config.zone
        self._slow_start = SlowStart(config.slow_start, clock)
        self._known = False
        #: Load reports by how they came.
        self.reports = dict.fromkeys(SOURCES, 0)
        self.configure(balancing)

    def configure(self, balancing: LoadBalancing | None) -> None:
        """Take another policy, or other parameters. The endpoints stay; what the old policy knew is lost."""
        default: PolicyName = self._config.targets.get(self._target, self._config.policy)
        balancing = balancing or LoadBalancing(default)
        #: The name of the policy in force.
        self.policy_name: PolicyName = balancing.policy
        self.policy = make_policy(balancing, self._config, self._slow_start, self._clock, self._rng)
        if self.rotation:
            self.policy.update(self.rotation)

    def replace(self, endpoints: Iterable[Endpoint]) -> None:
        """The set of endpoints is now this one; an endpoint that stays keeps its state."""
        self.endpoints = {e.address: e for e in endpoints}
        self._known = self._known or bool(self.endpoints)
        self._rotate()

    def set_state(self, endpoint: Endpoint, state: State, error: str = "") -> bool:
        """Notes what became of an endpoint. True where that changed its state."""
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
            avoid: An endpoint that has just failed: another one is picked if there is any.
            call: Whose method and metadata some policies look at.
            idempotent: Whether the call may be tried again: then it may probe an ejected endpoint.
        """
        if not self.rotation:
            return None
        ejections = self._ejections
        endpoint = ejections.probe(idempotent) if ejections is not None else None
        if endpoint is None or endpoint is avoid:
            endpoint = self.policy.pick(avoid, call)
            while ejections is not None and ejections.stalled(endpoint):
                endpoint = self.policy.pick(avoid, call)  # the rotation is smaller by one
        endpoint.picks += 1
        return endpoint

    def reported(self, endpoint: Endpoint, report: LoadReport) -> None:
        """A server has told its load."""
        self.reports[SOURCES[endpoint.out_of_band]] += 1
        self.policy.reported(endpoint, report)

    def rotate(self) -> None:
        """Work out the rotation anew: an endpoint was ejected, or may return."""
        self._rotate()

    @property
    def verdict(self) -> Verdict:
        """What to do while the rotation is empty.

        Before the first endpoint was ever seen, calls wait: at process start a name may not exist yet.
        """
        if not self._known or any(e.state is State.CONNECTING for e in self.endpoints.values()):
            return Verdict.WAIT
        return Verdict.FAIL

    def why(self) -> str:
        """Why the rotation is empty, for the details of an error."""
        if not self.endpoints:
            return f"no endpoint of {self._target} is known"
        states = "; ".join(
            f"{e.address} {e.state.value}{_because(e)}" for e in list(self.endpoints.values())[:3]
        )
        return f"no endpoint of {self._target} is ready: {states}"

    def _rotate(self) -> None:
        ready = [e for e in self.endpoints.values() if e.state is State.READY]
        if self._ejections is not None:
            self._ejections.replace(ready)
            # An endpoint that fails is better than none: those that are left may be gone by now.
            ready = [e for e in ready if not self._ejections.ejected(e)] or ready
        near = [e for e in ready if e.zone == self._zone] if self._zone else []
        rotation = near or ready
        if rotation != self.rotation:
            self.rotation = rotation
            self.policy.update(rotation)

    def __repr__(self) -> str:
        return f"<{self.policy_name} of {self._target}: {list(self.endpoints.values())}>"


def _because(endpoint: Endpoint) -> str:
    return f" ({endpoint.error})" if endpoint.error else ""
