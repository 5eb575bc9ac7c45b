"""The state of one attempt.

| state     | delivered | ended               | abandoned or cut      |
|-----------|-----------|---------------------|-----------------------|
| OPEN      | COMMITTED | ENDED, with its code| ENDED, with that code |
| COMMITTED | COMMITTED | ENDED, with its code| ENDED, with that code |
| ENDED     | ENDED     | ENDED, ignored      | ENDED, ignored        |

*delivered*: the caller has seen a message or the initial metadata. *ended*: the native call has a status.
*abandoned*: the call has ended or another attempt has won. *cut*: the mesh closes the connection.
"""

import enum
from typing import Any

from grpcmesh.call import Attempt, ClientCall
from grpcmesh.client.machines.status import Status


class AttemptState(enum.Enum):
    OPEN = "open"
    COMMITTED = "committed"
    ENDED = "ended"


_OPEN, _COMMITTED, _ENDED = AttemptState


class LiveAttempt(Attempt):
    """An attempt that ends exactly once, whoever ends it first."""

    __slots__ = ("state", "status")

    def __init__(self, call: ClientCall, endpoint: Any, number: int, started: float) -> None:
        super().__init__(call, endpoint, number, started)
        self.state = _OPEN
        #: How the attempt failed. None while it runs, and if it ended with OK.
        self.status: Status | None = None

    def deliver(self) -> None:
        """Note that the caller has seen part of the answer, and so will see no other attempt's."""
        if self.state is _OPEN:
            self.state = _COMMITTED

    def end(self, status: Status | None, now: float) -> bool:
        """End the attempt. Return False if it had ended already.

        Args:
            status: How it failed; None for OK.
            now: Clock time in seconds.
        """
        if self.state is _ENDED:
            return False
        self.state, self.status, self.ended = _ENDED, status, now
        if status is not None:
            self.code, self.local = status.code, status.final or status.local or status.unsent
        return True
