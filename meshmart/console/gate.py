"""Restricts a console that other hosts can reach to admins who are logged in.

A visitor without a session gets only the log-in page, its files, and the health of the process.
"""

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meshmart.console.access import FOREIGN, dressed, foreign
from meshmart.console.admins import Admins
from meshmart.console.refusal import RefusedError

#: The path for the kubelet's probes, which have no session. It answers 200 as long as the process serves.
HEALTH = "/health"
_PAGE = "/"
#: The paths that the log-in page needs. Log-in and log-out check the origin themselves.
_OPEN = ("/api/login", "/api/logout", "/api/session")
_FILES = "/static/"
#: Seconds between two checks whether the session of an open stream has ended.
STREAM_CHECK = 5.0


class Gate:
    """Middleware: lets admins in, and adds the headers of every answer.

    Args:
        app: The application.
        admins: Knows who is logged in.
        log_in_page: Returns the answer to a visitor who is not.
    """

    def __init__(self, app: ASGIApp, admins: Admins, log_in_page: Callable[[], Response]) -> None:
        self._app, self._admins, self._log_in_page = app, admins, log_in_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request = Request(scope)
        refusal = await self._refusal(request)
        if refusal is None and request.method in ("GET", "HEAD"):
            receive = self._while_logged_in(request, receive)
        return await (refusal or self._app)(scope, receive, dressed(send))

    async def _refusal(self, request: Request) -> Response | None:
        path, host = request.url.path, request.headers.get("host", "")
        if path == HEALTH:
            return PlainTextResponse("ok\n")
        if self._admins.origins.of(host) is None:
            return PlainTextResponse(f"{self._admins.origins.refusal(host)}\n", 403)
        if foreign(request.headers):
            return PlainTextResponse(FOREIGN, 403)
        if path in _OPEN or path.startswith(_FILES):
            return None
        try:
            await self._admins.actor(request)
        except RefusedError as e:
            return self._log_in_page() if path == _PAGE else e.response()
        return None

    def _while_logged_in(self, request: Request, receive: Receive) -> Receive:
        """Return a `receive` that reports a disconnect when the session ends, so that its stream ends."""

        async def watched() -> Message:
            reading = asyncio.ensure_future(receive())
            try:
                while not (await asyncio.wait({reading}, timeout=STREAM_CHECK))[0]:
                    await self._admins.actor(request)
                return reading.result()
            except RefusedError:
                return {"type": "http.disconnect"}
            finally:
                reading.cancel()

        return watched
