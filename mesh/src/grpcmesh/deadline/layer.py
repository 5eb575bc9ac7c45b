"""Sets the deadline of a logical call, once, before its first attempt."""

import math
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.call import ClientCall, ClientLayer, current_call
from grpcmesh.config import DeadlineConfig
from grpcmesh.errors import DeadlineExceeded


class DeadlineLayer(ClientLayer):
    """Gives each call a deadline, and refuses calls without time left.

    The deadline follows from the caller's timeout, or from the default for the kind of call. It is at most
    the deadline of the call being served, minus the margin.

    Args:
        config: Default timeouts and the margin, in seconds.
    """

    def __init__(self, config: DeadlineConfig) -> None:
        self._config = config
        #: Number of calls that were refused.
        self.expired = 0

    def on_start(self, call: ClientCall) -> None:
        """Set `call.deadline`.

        Raises:
            DeadlineExceeded: No time is left. That includes a timeout that is zero, negative, infinite or not
                a number, as in grpc.aio.
        """
        deadline = self._default(call) if call.deadline is None else call.deadline
        in_time = call.started < deadline < math.inf  # False for NaN
        served = current_call.get()
        if served is not None and served.deadline is not None:
            deadline = min(deadline, served.deadline - self._config.margin)
            in_time = in_time and call.started < deadline
        call.deadline = deadline
        if not in_time:
            self.expired += 1
            raise DeadlineExceeded(f"{call.method.full_name}: the time was over before it was started")

    def metrics(self, target: str) -> Iterable[Metric]:
        text = "Calls not started: their time was over."
        family = CounterMetricFamily("mesh_deadline_expired", text, labels=["target"])
        family.add_metric([target], self.expired)
        yield family

    def _default(self, call: ClientCall) -> float:
        kind = call.method.kind
        streaming = kind.request_streaming or kind.response_streaming
        return call.started + (self._config.stream if streaming else self._config.default)
