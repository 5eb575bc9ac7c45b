"""The console's web application. Its own routes answer only GET and HEAD; `changes` makes the others."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from grpcmesh.admin.access import Access
from meshmart.console.access import HEADERS, Guard
from meshmart.console.admins import Admins
from meshmart.console.gate import Gate
from meshmart.console.history import POINTS, STEP, History
from meshmart.console.hub import Hub
from meshmart.console.stream import FrameStream, accepts_gzip
from services.look.files import FILES

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class _Asset:
    body: bytes
    media_type: str
    etag: str


def assets() -> Mapping[str, _Asset]:
    """Return the console's files by name, and those that all pages of Meshmart share."""
    own = (files("meshmart.console") / "static").iterdir()
    found = {**FILES, **{file.name: file.read_bytes() for file in own if _type(file.name)}}
    return {name: _Asset(body, _type(name), f'"{_digest(body)}"') for name, body in found.items()}


def _type(name: str) -> str:
    """Return the media type of a file, or an empty string if the console does not serve such files."""
    return _TYPES.get(name.rpartition(".")[2], "")


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16]


def console_app(
    hub: Hub, history: History, access: Access | Admins, closing: asyncio.Event, routes: Sequence[Route] = ()
) -> Starlette:
    """Return the application.

    Args:
        hub: Where the frames come from.
        history: The figures of the last minutes.
        access: Who may see it: the rules of the admin ports, or only admins who are logged in.
        closing: Set when the process ends, to end the streams.
        routes: Further routes.
    """
    served = assets()

    async def page(request: Request) -> Response:
        return _file(request, served["index.html"])

    async def static(request: Request) -> Response:
        asset = served.get(request.path_params["name"])
        return _file(request, asset) if asset else PlainTextResponse("no such file\n", 404)

    async def events(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        return FrameStream(hub, closing, accepts_gzip(request.headers.get("accept-encoding", "")))

    async def state(request: Request) -> Response:
        if not hub.frame:
            return PlainTextResponse("nothing is known yet\n", 503)
        return Response(hub.frame, media_type="application/json")

    async def figures(request: Request) -> Response:
        points = history.read(request.query_params.getlist("name"))
        if points is None:
            return PlainTextResponse("no such service, replica or edge\n", 404)
        return JSONResponse({"until": history.until, "step": STEP, "count": POINTS, "points": points})

    return Starlette(
        routes=[
            Route("/", page),
            Route("/static/{name}", static),
            Route("/events", events),
            Route("/api/state", state),
            Route("/api/history", figures),
            *routes,
        ],
        middleware=[_guard(access, served["signin.html"])],
        exception_handlers={Exception: _broken},
    )


def _broken(_: Request, __: Exception) -> Response:
    """Answer for a route that failed. The middleware does not see this answer, so it has the headers here."""
    return PlainTextResponse(
        "the console failed; see its log\n", 500, {**HEADERS, "cache-control": "no-store"}
    )


def _guard(access: Access | Admins, log_in_page: _Asset) -> Middleware:
    def log_in() -> Response:
        return Response(log_in_page.body, 401, media_type=log_in_page.media_type)

    if isinstance(access, Admins):
        return Middleware(Gate, admins=access, log_in_page=log_in)
    return Middleware(Guard, access=access)


def _file(request: Request, asset: _Asset) -> Response:
    headers = {"etag": asset.etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == asset.etag:
        return Response(status_code=304, headers=headers)
    return Response(asset.body, media_type=asset.media_type, headers=headers)
