"""What a server says of itself, and what becomes of it at the balancer."""

from collections.abc import Callable
from typing import Any

from grpcmesh.balancer import Balancer, Endpoint, LoadReport
from grpcmesh.status import MEMBER_KEY


class EndpointNews:
    """Passes the news of one endpoint on.

    Args:
        on_member: Called when the server says that it is one of the mesh.
    """

    def __init__(self, endpoint: Endpoint, balancer: Balancer, on_member: Callable[[], None]) -> None:
        self._endpoint, self._balancer, self._on_member = endpoint, balancer, on_member

    def greeted(self, metadata: Any) -> None:
        if metadata.get(MEMBER_KEY):
            self._on_member()

    def service(self, name: str, serving: bool) -> None:
        """Nobody asks for services yet."""

    def reported(self, report: LoadReport) -> None:
        self._endpoint.out_of_band = True
        self._balancer.reported(self._endpoint, report)

    def reports_ended(self) -> None:
        self._endpoint.out_of_band = False
