"""Exchanges visitors' tokens for tokens that only one service accepts.

The token in a visitor's cookie is accepted by every service. If it were passed on, a compromised service
could use it to act for its visitors at the others. So the storefront exchanges it for one that only the
called service accepts (RFC 8693), and caches that until it expires.

During a rolling upgrade, a user service of the previous release cannot exchange tokens; then the visitor's
own token is passed on. A service that refuses a token is never sent the visitor's own token instead, because
a compromised service would refuse in order to get it. Only the user service decides whether a visitor has to
log in again.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from ecommerce import user_pb2
from ecommerce.user_pb2_grpc import UserServiceStub

from services.storefront.calls import Caller
from services.storefront.domain import Problem, ShopError

T = TypeVar("T")
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
        narrows: If False, the visitor's own token is passed on, which services of every release accept.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        caller: Caller,
        clock: Callable[[], float] = time.monotonic,
        narrows: bool = True,
    ) -> None:
        self._stub, self._caller, self._clock = UserServiceStub(channel), caller, clock
        self._narrows = narrows
        self._kept: OrderedDict[tuple[str, bytes], tuple[str, float]] = OrderedDict()

    async def on_behalf(self, service: str, token: str, ask: Callable[[Metadata], Awaitable[T]]) -> T:
        """Make a call on behalf of a token's user; if it is refused, once more with a new token.

        Args:
            service: The service that is called. A refusal by `user` is final.
            token: The visitor's token.
            ask: Makes the call with the given metadata. A refused call has had no effect.

        Raises:
            ShopError: the call failed. LOGIN: the user service refuses the token. UNSUPPORTED: the called
                service refuses a token that the user service has just issued for it.
        """
        metadata = await self.bearer(service, token)
        try:
            return await ask(metadata)
        except ShopError as e:
            if e.problem is not Problem.LOGIN or service == "user":
                raise
        metadata = await self._anew(service, token)
        try:
            return await ask(metadata)
        except ShopError as e:
            if e.problem is not Problem.LOGIN:
                raise
            raise _not_understood(service) from e

    async def refused(self, service: str, token: str) -> ShopError:
        """Return the error to raise when a service ended a stream because of its token.

        Raises:
            ShopError: LOGIN: the user service refuses the visitor's token, too.
        """
        await self._anew(service, token)
        return _not_understood(service)

    async def bearer(self, service: str, token: str) -> Metadata:
        """Return the metadata of a call to a service on behalf of a token's user.

        Raises:
            ShopError: the user service refuses the token or fails.
        """
        if not self._narrows:
            return _bearer(token)
        narrow, until = self._kept.get(_key(service, token), ("", 0.0))
        if until <= self._clock():
            return await self._anew(service, token)
        self._kept.move_to_end(_key(service, token))
        return _bearer(narrow)

    async def _anew(self, service: str, token: str) -> Metadata:
        try:
            self._kept[_key(service, token)] = narrow, _ = await self._exchanged(service, token)
        except ShopError as e:
            if e.problem is Problem.UNSUPPORTED:
                return _bearer(token)
            raise
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


def _key(service: str, token: str) -> tuple[str, bytes]:
    return service, hashlib.sha256(token.encode()).digest()


def _not_understood(service: str) -> ShopError:
    return ShopError(Problem.UNSUPPORTED, f"{service} refuses a token that was issued for it")
