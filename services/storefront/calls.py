"""Makes a call, keeps it in the page's trail, and turns its failure into a `ShopError`.

The three shapes that the storefront needs: unary, a short stream collected into a list, and a
stream that is followed. Nothing above this file sees grpc.
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

#: Attempts that `unary_again` makes of a call, and the longest wait between two (seconds).
AGAIN, PAUSE = 3, 0.4
#: Names of endpoints remembered, for streams that have not ended and so have no trailing metadata.
MAX_NAMES = 256


class Caller:
    """Makes calls and keeps their trail.

    Args:
        clock: Measures them.
        rng: Spreads the pauses between attempts.
    """

    def __init__(self, clock: Clock, rng: random.Random | None = None) -> None:
        self._clock, self._rng = clock, rng or random.Random()
        self._names: OrderedDict[str, str] = OrderedDict()

    def name_of(self, endpoint: str) -> str:
        """The replica's name behind an address, as it last gave it; the address itself if it never did."""
        return self._names.get(endpoint, endpoint)

    async def unary(self, target: str, method: str, call: "grpc.aio.UnaryUnaryCall[Req, Res]") -> Res:
        """The response. Raises ShopError."""
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
        """The same for a call that carries an idempotency key: tried again while UNAVAILABLE.

        The mesh itself must not do that, for it cannot know of the key.
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
        """The first `limit` messages of a stream; the rest is cancelled. Raises ShopError."""
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
        """Its messages as they come. Raises ShopError. Cancelling the call is the caller's."""
        try:
            async for message in call:
                yield message
        except (grpc.aio.AioRpcError, MeshError) as e:
            raise convert.error(e) from e

    async def _record(self, target: str, method: str, call: Any, started: float, cut: bool = False) -> None:
        if not call.done():
            call.cancel()  # The request was given up: what comes back must not be waited for.
            return
        endpoint = getattr(call, "endpoint", None) or ""
        replica = replica_of(await call.trailing_metadata())
        if endpoint and replica:
            self._remember(endpoint, replica)
        # A stream cut short by us ends without trailing metadata, and well.
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
