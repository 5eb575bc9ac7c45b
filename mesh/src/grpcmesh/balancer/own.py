"""Runs an application's own policy, so that its errors cost no call."""

import logging
from collections.abc import Callable, Sequence

from grpcmesh.balancer.endpoint import Endpoint
from grpcmesh.balancer.orca import LoadReport
from grpcmesh.balancer.policy import Policy, SlowStart
from grpcmesh.call import ClientCall
from grpcmesh.clock import Clock, Rng

#: Makes a policy: the class of one, for example.
PolicyFactory = Callable[[SlowStart, Clock, Rng], Policy]

_log = logging.getLogger(__name__)


class OwnPolicy(Policy):
    """Picks as another policy does, or a random endpoint if that raises or picks one not in rotation.

    Args:
        make: Makes the other policy.
    """

    def __init__(self, make: PolicyFactory, slow_start: SlowStart, clock: Clock, rng: Rng) -> None:
        super().__init__(slow_start, clock, rng)
        self._own = make(slow_start, clock, rng)
        self.wants_latency, self.wants_reports = self._own.wants_latency, self._own.wants_reports
        self._in_rotation: frozenset[Endpoint] = frozenset()
        self._logged = False

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        super().update(endpoints)
        self._in_rotation = frozenset(endpoints)
        self._guarded(lambda: self._own.update(endpoints))

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        try:
            picked = self._own.pick(avoid, call)
            if picked in self._in_rotation:
                return picked
            self._note(ValueError(f"{picked!r} is not in rotation"))
        except Exception as e:
            self._note(e)
        return self.draw(avoid, self.slow_start.active)

    def ended(self, endpoint: Endpoint, latency: float, ok: bool) -> None:
        self._guarded(lambda: self._own.ended(endpoint, latency, ok))

    def reported(self, endpoint: Endpoint, report: LoadReport) -> None:
        self._guarded(lambda: self._own.reported(endpoint, report))

    def _guarded(self, hook: Callable[[], None]) -> None:
        try:
            hook()
        except Exception as e:
            self._note(e)

    def _note(self, error: Exception) -> None:
        if not self._logged:
            self._logged = True
            name = type(self._own).__name__
            _log.error("policy %s failed, endpoints are picked at random meanwhile", name, exc_info=error)
