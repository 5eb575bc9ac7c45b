"""The client's call stack and attempt stack, each in one function, and the hooks that one method runs."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from grpcmesh.admission import CallerThrottle
from grpcmesh.balancer import Balancer, EndpointCounts, Latency, LoadReports
from grpcmesh.breaker import Breaker
from grpcmesh.call import AttemptLayer, ClientLayer, Method
from grpcmesh.config import MeshConfig
from grpcmesh.deadline import DeadlineLayer
from grpcmesh.errors import MeshError
from grpcmesh.hooks import HookErrors
from grpcmesh.outlier import Outliers

if TYPE_CHECKING:
    from grpcmesh.telemetry import Telemetry

#: A hook of a call or of an attempt.
Hook = Callable[[Any], None]


def client_layers(
    config: MeshConfig,
    telemetry: "Telemetry | None" = None,
    own: Sequence[ClientLayer] = (),
    measuring: Sequence[ClientLayer] = (),
) -> list[ClientLayer]:
    """Return the call stack, outermost first. Retry and balancing stand below it.

    Args:
        own: Layers of the application.
        measuring: Further layers of telemetry.
    """
    seen: list[ClientLayer] = [telemetry.trace_client, telemetry.metrics_client] if telemetry else []
    return [
        *seen,  # first the trace, so that its span covers everything; then what the caller sees, as one call
        *measuring,  # the same, by gRPC's own names
        *own,  # inside telemetry, so that what they do is seen; outside the deadline, so that they may set it
        DeadlineLayer(config.deadline),  # always, and last: the time is the caller's, not that of the hooks
    ]


def attempt_layers(
    balancer: Balancer,
    outliers: Outliers,
    breaker: Breaker,
    throttle: CallerThrottle,
    own: Sequence[AttemptLayer] = (),
    measuring: Sequence[AttemptLayer] = (),
) -> list[AttemptLayer]:
    """Return the attempt stack, outermost first. It stands below the pick and above the connection.

    Args:
        own: Layers of the application.
        measuring: Layers of telemetry.
    """
    return [
        *measuring,  # first: gRFC A66 counts attempts that the policy refuses, too
        throttle,  # before all that counts attempts: what it refuses is not sent
        breaker,  # then: what it refuses has never been under way
        EndpointCounts(),  # before all that may refuse an attempt that an endpoint was picked for
        outliers,  # before what the policy learns: an endpoint that is ejected now is not picked again
        LoadReports(balancer),  # before latency: a report tells more of an endpoint than one answer
        Latency(balancer),
        *own,  # last: nearest to the wire
    ]


class Hooks:
    """The hooks that one method has to run: those that its layers override.

    Args:
        base: The class whose hooks do nothing: `ClientLayer` or `AttemptLayer`.
    """

    __slots__ = ("_ends", "_positions", "attempted", "ends", "starts")

    def __init__(self, layers: Sequence[Any], base: type[Any], method: Method) -> None:
        applying = [layer for layer in layers if layer.applies(method)]
        starts = [(i, x.on_start) for i, x in enumerate(applying) if type(x).on_start is not base.on_start]
        self._positions = [i for i, _ in starts]
        self.starts: tuple[Hook, ...] = tuple(start for _, start in starts)
        self._ends = [(i, x.on_end) for i, x in enumerate(applying) if type(x).on_end is not base.on_end][
            ::-1
        ]
        #: The hooks to run at the end, if every hook of `starts` has returned.
        self.ends: tuple[Hook, ...] = tuple(end for _, end in self._ends)
        self.attempted: tuple[Callable[..., None], ...] = tuple(
            x.on_attempt
            for x in applying
            if base is ClientLayer and type(x).on_attempt is not base.on_attempt
        )

    def resume(
        self, subject: Any, entered: int, error: BaseException, errors: HookErrors
    ) -> tuple[tuple[Hook, ...], MeshError | None]:
        """Continue after `starts[entered]` has raised: run the rest, and leave out layers that raise.

        Returns:
            The hooks to run at the end, and the error of a layer that refuses, if one does.
        """
        without: set[int] = set()
        while not isinstance(error, MeshError):
            errors.note(self.starts[entered], error)
            without.add(self._positions[entered])
            entered += 1
            try:
                while entered < len(self.starts):
                    self.starts[entered](subject)
                    entered += 1
            except BaseException as e:
                error = e
                continue
            return self._left(without, None), None
        return self._left(without, self._positions[entered]), error

    def _left(self, without: set[int], before: int | None) -> tuple[Hook, ...]:
        return tuple(end for i, end in self._ends if i not in without and (before is None or i < before))
