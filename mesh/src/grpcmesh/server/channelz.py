"""Serves channelz within a budget of memory.

Below 1.85.3, grpcio never frees the text of an answer that channelz gives (grpc/grpc#43196). Without a
budget, whoever may ask could take memory without bound.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from grpcmesh.clock import Clock, monotonic
from grpcmesh.errors import ResourceExhausted
from grpcmesh.rates import PeerRates

#: The bytes of answers that a process gives at once, and per second later: a mebibyte a day. An answer takes
#: about twice as much memory.
BUDGET, REFILL = 4 * 2**20, 2**20 / 86400
_FREES = (1, 85, 3)
_EVERYBODY = "everybody"


def leaks(version: str) -> bool:
    """Return whether this version of grpcio leaks the answers of channelz."""
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return numbers is None or tuple(map(int, numbers.groups())) < _FREES


class BudgetedChannelz:
    """A channelz servicer that refuses calls with RESOURCE_EXHAUSTED while its budget is used up.

    Args:
        servicer: Gives the answers: `grpc_channelz.v1.channelz.aio.ChannelzServicer`.
        clock: Monotonic seconds.
    """

    def __init__(self, servicer: Any, clock: Clock = monotonic) -> None:
        self._servicer, self._budget = servicer, PeerRates(REFILL, BUDGET, clock)

    def __getattr__(self, name: str) -> Callable[[Any, Any], Awaitable[Any]]:
        method = getattr(self._servicer, name)

        async def answer(request: Any, context: Any) -> Any:
            if self._budget.wait(_EVERYBODY, 0.0) > 0:
                raise ResourceExhausted(
                    "channelz has given as many answers as this process has memory for: grpcio below 1.85.3 "
                    "never frees them",
                    retry_after=None,
                )
            response = await method(request, context)
            self._budget.wait(_EVERYBODY, response.ByteSize())
            return response

        return answer
