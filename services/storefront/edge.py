"""The outermost middleware: the headers of every response, one log line per request, and unexpected
errors.
"""

import time
from collections.abc import Callable
from typing import Protocol

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Nothing from other origins, no inline script or style, no framing (https://www.w3.org/TR/CSP3/).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
#: For a year (RFC 6797, 6.1), for this host only: subdomains may not support https.
HSTS = "max-age=31536000"


class Log(Protocol):
    """The part of the mesh's structured log that is used here."""

    def info(self, message: str, **fields: object) -> None: ...

    def error(self, message: str, error: BaseException | None = None, **fields: object) -> None: ...


class Edge:
    """The outermost middleware inside the trace.

    Args:
        app: The wrapped application.
        log: Writes one line per request, never with a query, a cookie or a body.
        closing: Returns whether the process drains: connections are then closed after the response.
        https: Whether visitors use https; then HSTS tells browsers to use nothing else.
    """

    def __init__(self, app: ASGIApp, log: Log, closing: Callable[[], bool], https: bool = False) -> None:
        self._app, self._log, self._closing = app, log, closing
        self._headers = {**HEADERS, **({"strict-transport-security": HSTS} if https else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._dress(MutableHeaders(scope=message))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass  # the client is gone and gets no answer; the log line has status 0
        except Exception as e:
            self._log.error("request failed", e, method=scope["method"], path=scope["path"])
            if status:
                raise  # The response has begun: the connection must break, or it would look complete.
            response = PlainTextResponse("Something broke. It has been written down.\n", 500)
            await response(scope, receive, send_with_headers)
        finally:
            milliseconds = round((time.monotonic() - started) * 1000, 1)
            self._log.info(
                "request", method=scope["method"], path=scope["path"], status=status, duration_ms=milliseconds
            )

    def _dress(self, headers: MutableHeaders) -> None:
        for name, value in self._headers.items():
            headers[name] = value
        headers.setdefault("cache-control", "no-store")
        if self._closing():
            headers["connection"] = "close"
