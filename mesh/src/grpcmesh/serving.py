"""The interfaces that a server offers to its layers."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from grpcmesh.errors import MeshError

if TYPE_CHECKING:
    from grpcmesh.call import ServerCall


class QueueWatcher(Protocol):
    """Receives measurements of how long calls queue in this process before their handlers run."""

    def wants_probe(self) -> bool:
        """Return whether there were calls since the last question whose queueing time is unknown."""

    async def wait_until_wanted(self) -> None:
        """Wait until `wants_probe` would return True."""

    def probed(self, age: float) -> None:
        """Record that a call of this process to itself has queued for `age` seconds."""

    def probing(self, age: float) -> None:
        """Record that the oldest such call still under way has queued for `age` seconds (0: none is)."""


class Connections(Protocol):
    """Lets a layer close connections of its server, end streams, and measure queueing."""

    def close(self, peer: str, reason: str) -> None:
        """Close the connection of a peer. Its calls end with UNAVAILABLE.

        Args:
            peer: The peer in the form of `context.peer()`.
            reason: A label of `mesh_connections_closed_total`.
        """

    def end_streams(self, which: "Callable[[ServerCall], bool]", error: Callable[[], MeshError]) -> int:
        """End running streams, each at its next safe point. Return how many.

        Args:
            which: Returns whether to end the stream of a call.
            error: Makes the error for its caller.
        """

    def probe_queue(self, watcher: QueueWatcher) -> None:
        """Measure how long calls queue, from now on, whenever the watcher wants it."""


class Registrar(Protocol):
    """Registers servicers. It has the two methods of `grpc.aio.Server` that generated code calls."""

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None: ...

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None: ...
