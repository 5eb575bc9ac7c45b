"""What the call objects of both channels have in common: neither waits for anything."""

from typing import Any

import grpc

from grpcmesh.client.flight import Flight


class CallView:
    """Shows a call in flight to its caller, and cancels it.

    Args:
        flight: The call.
    """

    def __init__(self, flight: Flight) -> None:
        self._flight = flight

    @property
    def endpoint(self) -> str | None:
        """Return the address of the last attempt's endpoint, such as `127.0.1.1:50051`; None before it."""
        return self._flight.call.endpoint

    @property
    def attempts(self) -> int:
        """Return the number of attempts so far: more than one if the call was retried or hedged."""
        return self._flight.call.attempts

    def cancelled(self) -> bool:
        return self._flight.done and self._flight.call.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._flight.done

    def cancel(self) -> bool:
        return self._flight.cancel()

    def time_remaining(self) -> Any:  # `float | None` in grpc.aio, `float` in the stubs of grpc
        deadline = self._flight.call.deadline
        return None if deadline is None else max(0.0, deadline - self._flight.core.clock())

    def __repr__(self) -> str:
        call = self._flight.call
        state = call.code.name if self._flight.done else self._flight.machine.state.value
        return f"<{call.method.full_name} {state} endpoint={call.endpoint} attempts={call.attempts}>"
