"""Narrows the rotation for a call: to endpoints that serve its service, and those of a zone first. Pure.

The share of calls that stays in the zone is computed as Envoy does for localities
(https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/locality_weight):
all calls as long as enough of its endpoints are in rotation, then fewer with each endpoint that is not.
"""

from collections.abc import Callable, Collection, Sequence

from grpcmesh.balancer.endpoint import Endpoint
from grpcmesh.balancer.policy import Policy
from grpcmesh.call import ClientCall
from grpcmesh.clock import Rng

#: Envoy's overprovisioning factor: a zone keeps all calls while at least 1 / 1.4 = 71 % of it is in rotation.
OVERPROVISIONING = 1.4


class Zones:
    """The preference for a zone.

    Args:
        zone: The zone whose endpoints are preferred.
        least: Endpoints of the zone that have to be in rotation; with fewer there is no preference.
    """

    def __init__(self, zone: str, least: int = 1) -> None:
        self.zone, self._least = zone, least

    def share(self, near: int, known: int) -> float:
        """Return the share of the calls that stays in the zone.

        Args:
            near: Number of the zone's endpoints in rotation.
            known: Number of all of the zone's endpoints.
        """
        if near < self._least or not known:
            return 0.0
        return min(1.0, OVERPROVISIONING * near / known)


class _Group:
    """The policies for a set of endpoints: for all of them, for the preferred zone, and for other zones."""

    def __init__(self, make: Callable[[], Policy], rng: Rng) -> None:
        self._rng = rng
        self._near, self._far, self._all = make(), make(), make()
        self._empty = True
        #: The share of the calls that stays in the zone.
        self.share = 0.0

    def update(self, endpoints: Sequence[Endpoint], zones: Zones | None, known: Collection[Endpoint]) -> None:
        """Update the policies. `endpoints`: those in rotation that calls may go to; `known`: all."""
        self._empty = not endpoints
        if endpoints:
            self._all.update(endpoints)
        if zones is None:
            return
        near = [e for e in endpoints if e.zone == zones.zone]
        far = [e for e in endpoints if e.zone != zones.zone]
        share = zones.share(len(near), sum(1 for e in known if e.zone == zones.zone))
        self.share = 1.0 if near and not far else share
        for policy, members in ((self._near, near), (self._far, far)):
            if members:
                policy.update(members)

    def policy(self, avoid: Endpoint | None) -> Policy | None:
        """Return the policy that picks; None without an endpoint. A retry or hedge may go to any zone."""
        if self._empty:
            return None
        if not self.share or avoid is not None:
            return self._all
        return self._near if self.share >= 1.0 or self._rng.random() < self.share else self._far


class Narrowing:
    """Chooses the policy that picks for a call.

    Args:
        make: Makes a policy. These policies only pick; latencies and load reports go to the balancer's own.
        zones: The preference for a zone; None if there is none.
    """

    def __init__(self, make: Callable[[], Policy], zones: Zones | None, rng: Rng) -> None:
        self._make, self._zones, self._rng = make, zones, rng
        self._rest = _Group(make, rng)
        #: Groups of the services that not all endpoints serve, by service.
        self._services: dict[str, _Group] = {}

    @property
    def share(self) -> float:
        """Return the share of the calls that stays in the preferred zone, from 0 to 1."""
        return self._rest.share

    def update(self, rotation: Sequence[Endpoint], known: Collection[Endpoint]) -> bool:
        """Handle a changed rotation or changed endpoints. Return whether there is anything to narrow."""
        services = set[str]().union(*(e.not_serving for e in rotation))
        if not services and self._zones is None:
            self._services = {}
            return False
        self._services = {s: self._services.get(s) or _Group(self._make, self._rng) for s in services}
        for service, group in self._services.items():
            group.update([e for e in rotation if service not in e.not_serving], self._zones, known)
        self._rest.update(rotation, self._zones, known)
        return True

    def policy(self, avoid: Endpoint | None, call: ClientCall | None) -> Policy | None:
        """Return the policy that picks for this call, or None if there is no endpoint for it."""
        group = self._services.get(call.method.service) if call is not None else None
        return (group or self._rest).policy(avoid)
