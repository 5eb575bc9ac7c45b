"""What a server offers to its layers."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from grpcmesh.errors import MeshError

if TYPE_CHECKING:
    from grpcmesh.call import ServerCall


class QueueWatcher(Protocol):
    """Who wants to know how long calls queue in this process before their handlers run."""

    def wants_probe(self) -> bool:
        """Return whether calls have come since the last question that do not tell it themselves."""

    def probed(self, age: float) -> None:
        """A call of this process to itself has queued for so many seconds."""

    def probing(self, age: float) -> None:
        """The oldest such call that is still queueing does so for so many seconds; 0: there is none."""


class Connections(Protocol):
    """What a layer can do to the connections of its server, and learn through them."""

    def close(self, peer: str, reason: str) -> None:
        """Close the connection of a peer, as `context.peer()` names it; its calls end with UNAVAILABLE.

        Args:
            reason: A label of `mesh_connections_closed_total`.
        """

    def end_streams(self, which: "Callable[[ServerCall], bool]", error: Callable[[], MeshError]) -> int:
        """End running streams, each at its next safe point; return how many.

        Args:
            which: Tells by its call whether a stream is to end.
            error: Makes what its caller is told.
        """

    def probe_queue(self, watcher: QueueWatcher) -> None:
        """Measure from now on, when the watcher wants it, how long calls queue."""


class Registrar(Protocol):
    """What generated code adds servicers to: the two methods of `grpc.aio.Server` that it calls."""

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None: ...

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None: ...
