"""The deadline of a logical call, decided once, before its first attempt."""

from grpcmesh.call import ClientCall, ClientLayer, ServerCall, current_call
from grpcmesh.config import DeadlineConfig
from grpcmesh.errors import DeadlineExceeded


class DeadlineLayer(ClientLayer):
    """Gives each call a deadline, and does not start one whose time is over.

    A caller that names a timeout has decided (`call.deadline` is set already). Any other call gets the
    default of its kind, or what is left to the call being served, less the margin, if that is shorter.
    """

    def __init__(self, config: DeadlineConfig) -> None:
        self._config = config
        #: Calls that were not started.
        self.expired = 0

    def on_start(self, call: ClientCall) -> None:
        """Raises DeadlineExceeded."""
        if call.deadline is None:
            call.deadline = self._decide(call, current_call.get())
        if call.deadline <= call.started:
            self.expired += 1
            raise DeadlineExceeded(f"{call.method.full_name}: the time was over before it was started")

    def _decide(self, call: ClientCall, served: ServerCall | None) -> float:
        kind = call.method.kind
        streaming = kind.request_streaming or kind.response_streaming
        deadline = call.started + (self._config.stream if streaming else self._config.default)
        if served is None or served.deadline is None:
            return deadline
        return min(deadline, served.deadline - self._config.margin)
