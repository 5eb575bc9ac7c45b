"""Tokens that the storefront sends on: each is good at one service only.

The token in a visitor's cookie is accepted by every service. Sent as it is, it would let a service that was
taken over act for its visitors elsewhere. So the storefront has it exchanged for one that only the service
accepts that it calls (RFC 8693), and keeps that as long as it is good.
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

#: Tokens that are kept.
MAX_KEPT = 8192
#: Seconds before its end at which a token is exchanged anew, and that an exchange may take.
EARLY, TIMEOUT = 30.0, 3.0


class Exchange:
    """Args:
    channel: To the user service.
    caller: Makes the calls and keeps the trail.
    clock: Monotonic seconds.
    """

    def __init__(
        self, channel: grpc.aio.Channel, caller: Caller, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stub, self._caller, self._clock = UserServiceStub(channel), caller, clock
        self._kept: OrderedDict[tuple[str, bytes], tuple[str, float]] = OrderedDict()

    async def bearer(self, service: str, token: str) -> Metadata:
        """The metadata of a call to a service on behalf of a token's user.

        Raises:
            ShopError: the user service refuses the token, or cannot say.
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
