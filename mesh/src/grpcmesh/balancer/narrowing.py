"""Which endpoints in rotation a call goes to: those that serve its service, those of a zone first. Pure.

The share of calls that stays in the zone is Envoy's for localities
(https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/locality_weight):
all of them as long as enough of its endpoints are in rotation, then less with each one that is not.
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
        zone: Endpoints of this one are preferred.
        least: Endpoints of it that have to be in rotation for that.
    """

    def __init__(self, zone: str, least: int = 1) -> None:
        self.zone, self._least = zone, least

    def share(self, near: int, known: int) -> float:
        """Return the share of the calls that stays in the zone.

        Args:
            near: Its endpoints in rotation.
            known: All of its endpoints.
        """
        if near < self._least or not known:
            return 0.0
        return min(1.0, OVERPROVISIONING * near / known)


class _Group:
    """Endpoints that some calls may go to: all of them, those of the preferred zone, and the others."""

    def __init__(self, make: Callable[[], Policy], rng: Rng) -> None:
        self._rng = rng
        self._near, self._far, self._all = make(), make(), make()
        self._empty = True
        #: Of the calls, that stay in the zone.
        self.share = 0.0

    def update(self, endpoints: Sequence[Endpoint], zones: Zones | None, known: Collection[Endpoint]) -> None:
        """These are in rotation, and those are all that there are."""
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
        """Return who picks; None: there is no endpoint. A retry or hedge may go to any zone."""
        if self._empty:
            return None
        if not self.share or avoid is not None:
            return self._all
        return self._near if self.share >= 1.0 or self._rng.random() < self.share else self._far


class Narrowing:
    """Says which policy picks for a call.

    Args:
        make: Makes a policy. Those that are made pick; what there is to be learnt, the balancer's own learns.
        zones: The preference; None: there is none.
    """

    def __init__(self, make: Callable[[], Policy], zones: Zones | None, rng: Rng) -> None:
        self._make, self._zones, self._rng = make, zones, rng
        self._rest = _Group(make, rng)
        #: By service: of those that not all endpoints serve.
        self._services: dict[str, _Group] = {}

    @property
    def share(self) -> float:
        """Of the calls, that stay in the preferred zone."""
        return self._rest.share

    def update(self, rotation: Sequence[Endpoint], known: Collection[Endpoint]) -> bool:
        """The rotation has changed, or what its endpoints say. Return whether there is anything to narrow."""
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
        """Return who picks for this call; None: there is no endpoint for it."""
        group = self._services.get(call.method.service) if call is not None else None
        return (group or self._rest).policy(avoid)
