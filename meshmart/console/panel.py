"""The routes of what the page shows of a choice beside its figures. Each is read on demand."""

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from meshmart.console import settings
from meshmart.console.choice import Choice, find
from meshmart.console.observer import Observer
from meshmart.console.reads import OnDemand, Reads

_Reader = Callable[[Choice], Awaitable[bytes]]


def routes(observer: Observer, reads: Reads) -> Sequence[Route]:
    """Return the routes. Each takes a choice as `name` of the query, as `/api/history` does.

    Args:
        observer: What is known of the mesh.
        reads: Reads on demand.
    """

    def route(kind: str, reader: _Reader) -> Route:
        async def endpoint(request: Request) -> Response:
            name = request.query_params.getlist("name")
            choice = find(observer, name)
            if choice is None:
                return PlainTextResponse("no such service, replica or edge\n", 404)
            return OnDemand(reads, (kind, *name), lambda: reader(choice))

        return Route(f"/api/{kind}", endpoint)

    return [route("settings", settings.read)]
