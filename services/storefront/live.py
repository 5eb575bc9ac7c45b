"""Streams an order's updates as server-sent events (https://html.spec.whatwg.org/#server-sent-events).

Each event's id is the update's cursor. A browser that lost its connection sends the last one, so that nothing
is lost or doubled whichever storefront replica it reaches. When the order replica behind us drains, we resume
from the same cursor at another one, invisibly to the browser.
"""

import asyncio
import json
import random
import time
from collections import Counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.kit.streaming import disconnected, first_of
from services.storefront.domain import Problem, ShopError, Update
from services.storefront.sessions import Session
from services.storefront.site import Site, path_id
from services.storefront.visit import visit_of

#: Seconds between two keepalive comments; proxies close connections that are silent for a minute.
HEARTBEAT = 15.0
#: Seconds until a browser is made to reconnect, so that long-lived pages spread over new replicas.
MAX_AGE = 1800.0
#: The most streams of one process, and the most of one client address.
MAX_STREAMS, MAX_STREAMS_OF_ONE = 500, 50
#: The longest backoff before an order replica is tried again, in seconds.
MAX_PAUSE = 2.0
#: Milliseconds until a browser reconnects that ignores the final event.
_NEVER = 86_400_000
#: Problems that are not retried.
_FINAL = frozenset({Problem.LOGIN, Problem.FORBIDDEN, Problem.NOT_FOUND, Problem.INVALID})


class LiveOrders:
    """The endpoint behind the order page's EventSource.

    Args:
        site: The shop.
        closing: Set when this process drains: every stream then ends.
    """

    def __init__(self, site: Site, closing: asyncio.Event) -> None:
        self._site, self._closing = site, closing
        self._open: Counter[str] = Counter()

    async def events(self, request: Request) -> Response:
        visit = visit_of(request)
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")  # a HEAD request needs no stream
        if visit.session is None:
            return Response(status_code=204)  # Tells an EventSource not to come back.
        visit.token  # noqa: B018 - raises if the session could not be renewed: the browser tries again
        if self._open.total() >= MAX_STREAMS or self._open[visit.address] >= MAX_STREAMS_OF_ONE:
            raise ShopError(Problem.BUSY, "too many pages are open")
        given = request.headers.get("last-event-id") or request.query_params.get("after", "")
        cursor = int(given) if given.isascii() and given.isdigit() and len(given) < 19 else 0
        return EventStream(self, visit.session, visit.address, path_id(request), cursor)

    async def serve(self, stream: "EventStream", receive: Receive, send: Send) -> None:
        """Run a stream until the browser leaves, the process drains, or it reaches `MAX_AGE`."""
        self._open[stream.address] += 1
        try:
            ends = (disconnected(receive), self._closing.wait(), asyncio.sleep(MAX_AGE))
            await first_of(stream.push(self._site, send), _beat(send), *ends)
        finally:
            self._open[stream.address] -= 1
            self._open += Counter()  # drops addresses with a count of 0


class EventStream(Response):
    """The streaming response. It sends as long as there is something to follow."""

    def __init__(self, live: LiveOrders, session: Session, address: str, order_id: int, cursor: int) -> None:
        super().__init__(media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._live, self._session, self._order_id, self._cursor = live, session, order_id, cursor
        self.address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await _say(send, "retry: 1000\n\n")
        await self._live.serve(self, receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def push(self, site: Site, send: Send) -> None:
        """Follow the order, from replica to replica, until it is final or the token has expired."""
        pause = 0.1
        while True:
            came = self._cursor
            try:
                await self._follow(site, send)
                await self._end(send, "end", {})
                return
            except ShopError as e:
                if e.problem is Problem.LOGIN and self._session.is_over(time.time()):
                    return  # the browser reconnects with the cookie that renews the session
                if e.problem in _FINAL:
                    await self._end(send, "gone", {"problem": e.problem.value})
                    return
            if self._cursor > came:
                pause = 0.1
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, MAX_PAUSE)

    async def _follow(self, site: Site, send: Send) -> None:
        """Send the order's updates. Return when the order is final.

        Raises:
            ShopError: the stream broke, for example because its replica drains; resume from the cursor.
        """
        async with site.shop.orders.follow(self._session.token, self._order_id, self._cursor) as updates:
            async for update in updates:
                self._cursor = update.cursor
                via = site.name_of(updates.endpoint or "")
                await _say(send, _event("update", _shown(update, via), update.cursor))

    async def _end(self, send: Send, name: str, data: dict[str, Any]) -> None:
        """Send the final event. A browser that reconnects nevertheless waits for a day."""
        await _say(send, f"retry: {_NEVER}\n{_event(name, data)}")


async def _beat(send: Send) -> None:
    while True:
        await _say(send, ": alive\n\n")
        await asyncio.sleep(HEARTBEAT)


async def _say(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


def _event(name: str, data: dict[str, Any], cursor: int | None = None) -> str:
    head = f"id: {cursor}\n" if cursor is not None else ""
    return f"{head}event: {name}\ndata: {json.dumps(data)}\n\n"


def _shown(update: Update, via: str) -> dict[str, Any]:
    return {
        "status": update.status.value,
        "label": update.status.label,
        "message": update.message,
        "at": update.at.isoformat(),
        "via": via,
    }
