"""Exchanges visitors' tokens for tokens that only one service accepts.

The token in a visitor's cookie is accepted by every service. If it were passed on, a compromised service
could use it to act for its visitors at the others. So the storefront exchanges it for one that only the
called service accepts (RFC 8693), and caches that until it expires.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

import grpc
from ecommerce import user_pb2
from ecommerce.user_pb2_grpc import UserServiceStub

from services.storefront.calls import Caller

Metadata = tuple[tuple[str, str], ...]

#: The most tokens in the cache.
MAX_KEPT = 8192
#: Seconds before its expiry at which a token is exchanged again, and timeout of an exchange in seconds.
EARLY, TIMEOUT = 30.0, 3.0


class Exchange:
    """Exchanges tokens, and caches the results.

    Args:
        channel: A channel to the user service.
        caller: Makes the calls and records the trail.
        clock: Monotonic seconds.
    """

    def __init__(
        self, channel: grpc.aio.Channel, caller: Caller, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stub, self._caller, self._clock = UserServiceStub(channel), caller, clock
        self._kept: OrderedDict[tuple[str, bytes], tuple[str, float]] = OrderedDict()

    async def bearer(self, service: str, token: str) -> Metadata:
        """Return the metadata of a call to a service on behalf of a token's user.

        Raises:
            ShopError: the user service refuses the token or fails.
        """
        key = service, hashlib.sha256(token.encode()).digest()
        narrow, until = self._kept.get(key, ("", 0.0))
        if until <= self._clock():
            narrow, until = await self._exchanged(service, token)
            self._kept[key] = narrow, until
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return _bearer(narrow)

    async def _exchanged(self, service: str, token: str) -> tuple[str, float]:
        request = user_pb2.ExchangeTokenRequest(service=service)
        call = self._stub.ExchangeToken(request, timeout=TIMEOUT, metadata=_bearer(token))
        response = await self._caller.unary("user", "ExchangeToken", call)
        return response.access_token, self._clock() + response.expires_in - EARLY


def _bearer(token: str) -> Metadata:
    return (("authorization", f"Bearer {token}"),)
