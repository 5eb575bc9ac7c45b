"""Makes a call, adds it to the page's trail, and turns a failure into a `ShopError`.

It supports the three forms that the storefront needs: unary, a short stream collected into a list, and a
stream that is followed. No module above this one uses grpc.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

import grpc

from grpcmesh.clock import Clock
from grpcmesh.errors import MeshError
from grpcmesh.status import replica_of
from services.storefront import convert
from services.storefront.domain import Problem, ShopError
from services.storefront.trail import Step, record

Req = TypeVar("Req")
Res = TypeVar("Res")

#: Timeout of a read, in seconds.
READ_TIMEOUT = 3.0
#: Timeout of a change or a log-in, in seconds. It covers an order with its stock and its payment.
WRITE_TIMEOUT = 10.0
#: Attempts that `unary_again` makes of a call, and the longest backoff between two, in seconds.
AGAIN, PAUSE = 3, 0.4
#: The most endpoint names remembered. They serve streams in flight, which have no trailing metadata yet.
MAX_NAMES = 256


class Caller:
    """Makes calls and adds them to the current trail.

    Args:
        clock: Returns monotonic seconds, to measure calls.
        rng: Draws the jitter of the backoff.
    """

    def __init__(self, clock: Clock, rng: random.Random | None = None) -> None:
        self._clock, self._rng = clock, rng or random.Random()
        self._names: OrderedDict[str, str] = OrderedDict()

    def name_of(self, endpoint: str) -> str:
        """Return the name that the replica at an address last gave, or the address itself if it never did."""
        return self._names.get(endpoint, endpoint)

    async def unary(self, target: str, method: str, call: "grpc.aio.UnaryUnaryCall[Req, Res]") -> Res:
        """Await a call and return the response. Raises ShopError."""
        started = self._clock()
        try:
            return await call
        except (grpc.aio.AioRpcError, MeshError) as e:
            raise convert.error(e) from e
        finally:
            await self._record(target, method, call, started)

    async def unary_again(
        self, target: str, method: str, attempt: "Callable[[], grpc.aio.UnaryUnaryCall[Req, Res]]"
    ) -> Res:
        """Make a call that carries an idempotency key, and try again while it fails with UNAVAILABLE.

        The mesh itself must not retry it, because it cannot know of the key. Raises ShopError.
        """
        for _ in range(AGAIN - 1):
            try:
                return await self.unary(target, method, attempt())
            except ShopError as e:
                if e.problem is not Problem.UNAVAILABLE:
                    raise
            await asyncio.sleep(self._rng.uniform(0.1, PAUSE))
        return await self.unary(target, method, attempt())

    async def collect(
        self, target: str, method: str, call: "grpc.aio.UnaryStreamCall[Req, Res]", limit: int
    ) -> list[Res]:
        """Return the first `limit` messages of a stream, and cancel the rest. Raises ShopError."""
        started = self._clock()
        found: list[Res] = []
        cut = False
        try:
            async for message in call:
                if cut := len(found) == limit:
                    break
                found.append(message)
            return found
        except (grpc.aio.AioRpcError, MeshError) as e:
            raise convert.error(e) from e
        finally:
            call.cancel()
            await self._record(target, method, call, started, cut)

    async def stream(self, call: "grpc.aio.UnaryStreamCall[Req, Res]") -> AsyncIterator[Res]:
        """Yield a stream's messages as they arrive. Raises ShopError. The caller must cancel the call."""
        try:
            async for message in call:
                yield message
        except (grpc.aio.AioRpcError, MeshError) as e:
            raise convert.error(e) from e

    async def _record(self, target: str, method: str, call: Any, started: float, cut: bool = False) -> None:
        if not call.done():
            call.cancel()  # The request was abandoned: do not wait for the answer.
            return
        endpoint = getattr(call, "endpoint", None) or ""
        replica = replica_of(await call.trailing_metadata())
        if endpoint and replica:
            self._remember(endpoint, replica)
        # A stream that we cancelled ends without trailing metadata, and counts as OK.
        code = (await call.code()).name if not cut else "OK"
        replica = replica or self._names.get(endpoint, "")
        milliseconds = (self._clock() - started) * 1000
        attempts = getattr(call, "attempts", 1)
        record(Step(target, method, endpoint, replica, milliseconds, attempts, code))

    def _remember(self, endpoint: str, replica: str) -> None:
        self._names[endpoint] = replica
        self._names.move_to_end(endpoint)
        while len(self._names) > MAX_NAMES:
            self._names.popitem(last=False)


async def next_token(call: "grpc.aio.UnaryStreamCall[Any, Any]") -> str:
    """Return the token of the next page from the trailing metadata of a finished call."""
    told = dict(await call.trailing_metadata() or ())
    token = told.get("next-page-token", "")
    return token if isinstance(token, str) else ""
