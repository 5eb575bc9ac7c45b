"""Checks that a request that changes something comes from the console's own page, for an admin."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from meshmart.console.admins import Admins
from meshmart.console.origins import Origins
from meshmart.console.refusal import RefusedError

#: The largest body in bytes, and the seconds within which it must arrive.
MAX_BODY, BODY_TIMEOUT = 8 * 1024, 10.0

Handle = Callable[[str, Mapping[str, Any]], Awaitable[Response]]
"""Called with the admin's name and the JSON object of the body. It may raise RefusedError."""


def changing(path: str, admins: Admins, handle: Handle) -> Route:
    """Return a route that changes something.

    A request is refused unless it is a POST of JSON by the console's own page, where an admin is logged in.

    Args:
        path: The path.
        admins: Knows who is logged in.
        handle: Makes the change.
    """

    async def endpoint(request: Request) -> Response:
        try:
            check(request, admins.origins)
            if not admins.may_change:
                raise RefusedError(403, "this console only shows: its switches are not enabled")
            actor = await admins.actor(request)
            return await handle(actor, await body(request))
        except RefusedError as e:
            return e.response()

    return Route(path, endpoint, methods=["POST"])


def check(request: Request, origins: Origins) -> None:
    """Check that the console's own page makes this request, and that its body is JSON.

    A page of another origin can send a form or text by itself, but neither this `content-type` nor another
    `origin` than its own (https://fetch.spec.whatwg.org/#origin-header). Another port of this host is another
    origin, although it is the same site, so the cookie's SameSite does not keep the shop's pages out.

    Raises:
        RefusedError: another page makes it, or the body has another type.
    """
    host = request.headers.get("host", "")
    own = origins.of(host)
    if own is None:
        raise RefusedError(403, origins.refusal(host))
    if request.headers.get("origin") != own:
        raise RefusedError(403, "only the console's own page may change something")
    # Absent where the browser is old, or the console is reached by http at an address that is not loopback.
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise RefusedError(403, "only the console's own page may change something")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(415, "the content-type of the request must be application/json")


async def body(request: Request) -> Mapping[str, Any]:
    """Read a JSON object.

    Raises:
        RefusedError: the body is not a JSON object, is too large, or does not arrive in time.
    """
    read = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in request.stream():
                read += part
                if len(read) > MAX_BODY:
                    raise RefusedError(413, f"the body has more than {MAX_BODY} bytes")
        value = json.loads(read.decode())
    except TimeoutError:
        raise RefusedError(408, f"the body did not arrive within {BODY_TIMEOUT:g} s") from None
    except (ClientDisconnect, ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise RefusedError(400, "the body is not a JSON object")
    return value
