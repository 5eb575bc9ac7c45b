"""Passes what a server reports to the balancer: its zone, the health of its services, its load."""

from collections.abc import Callable
from typing import Any

from grpcmesh.balancer import Balancer, Endpoint, LoadReport
from grpcmesh.status import MEMBER_KEY, zone_of


class EndpointListener:
    """Passes what one endpoint's server reports to the balancer.

    Args:
        on_member: Called when the server says that it is a member of the mesh.
        on_change: Called when the health of a service has changed, so that waiting calls may pick again.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        balancer: Balancer,
        on_member: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self._endpoint, self._balancer = endpoint, balancer
        self._on_member, self._on_change = on_member, on_change
        #: Whether the resolver has given the zone, which overrides what the server says.
        self._resolved = bool(endpoint.zone)

    def initial_metadata(self, metadata: Any) -> None:
        if metadata.get(MEMBER_KEY):
            self._on_member()
        if not self._resolved and (zone := zone_of(metadata)):
            self._balancer.set_zone(self._endpoint, zone)

    def service(self, name: str, serving: bool) -> None:
        if self._balancer.set_serving(self._endpoint, name, serving):
            self._on_change()

    def reported(self, report: LoadReport) -> None:
        self._endpoint.out_of_band = True
        self._balancer.reported(self._endpoint, report)

    def reports_ended(self) -> None:
        self._endpoint.out_of_band = False
