"""Who may see the console: the rules of the admin ports, and no page of another origin."""

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from grpcmesh.admin.access import Access, Asked

#: Nothing from other origins, no inline script or style, no framing (https://www.w3.org/TR/CSP3/).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_REFUSALS = {
    401: "the console needs the token of the admin ports, as the password or as a bearer token\n",
    403: "the console answers only callers on this host, by address; others need MESH_ADMIN_TOKEN_FILE\n",
}
FOREIGN = "the console answers no page of another origin\n"


class Guard:
    """Middleware: refuses who may not see the console, and adds the headers of every answer.

    Args:
        app: The application.
        access: The rules.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        refusal = await self._refusal(scope, Headers(scope=scope))
        return await (refusal or self._app)(scope, receive, dressed(send))

    async def _refusal(self, scope: Scope, headers: Headers) -> PlainTextResponse | None:
        if foreign(headers):
            return PlainTextResponse(FOREIGN, 403)
        peer = scope["client"][0] if scope.get("client") else ""
        asked = Asked(peer, headers.get("host", ""), headers.get("authorization", ""))
        status = await self._access.status(asked, metrics=False)
        if status == 200:
            return None
        challenge = {"www-authenticate": 'Basic realm="console", Bearer'} if status == 401 else {}
        return PlainTextResponse(_REFUSALS[status], status, challenge)


def foreign(headers: Headers) -> bool:
    """Return whether a page of another origin makes this request. A link that a person follows is fine.

    Browsers say so (https://www.w3.org/TR/fetch-metadata/); another port of this host is another origin.
    """
    if headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document":
        return False
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def dressed(send: Send) -> Send:
    """Return a `send` that adds the headers of every answer."""

    async def dressed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return dressed
