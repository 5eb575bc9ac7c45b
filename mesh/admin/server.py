"""AdminServer: a small HTTP server beside the mesh server, in the same loop."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from mesh.admin.http import Asgi, HttpServer
from mesh.admin.page import render
from mesh.config import AdminConfig

State = Callable[[], Mapping[str, Any]]
#: Content type and body of a page, by the request's Accept.
_Page = Callable[[str], tuple[str, bytes]]


class AdminServer(HttpServer):
    """Serves `/metrics`, `/` and `/state.json`.

    Args:
        config: Where to listen; port 0 takes a free one.
        registry: What `/metrics` shows.
        state: What the page shows: `service`, `replica`, `certificate` (`serial`, `not_after` in unix
            seconds, `workload`), `targets` (each a `MeshChannel.state()`); other keys are shown as they are.
    """

    def __init__(self, config: AdminConfig, registry: CollectorRegistry, state: State) -> None:
        super().__init__(admin_app(registry, state), config.address, "admin")


def admin_app(registry: CollectorRegistry, state: State) -> Asgi:
    """The pages, without a port: for tests and for mounting elsewhere.

    Plain ASGI: three pages are not worth a framework's 1.5 MB in every process.
    """

    def metrics(accept: str) -> tuple[str, bytes]:
        encode, content_type = choose_encoder(accept)
        return content_type, encode(registry)

    pages: dict[str, _Page] = {
        "/metrics": metrics,
        "/state.json": lambda accept: ("application/json", json.dumps(dict(state())).encode()),
        "/": lambda accept: ("text/html; charset=utf-8", render(state()).encode()),
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        page = pages.get(scope["path"])
        if page is None:
            status, (content_type, body) = 404, ("text/plain", b"Not Found")
        elif scope["method"] not in ("GET", "HEAD"):
            status, (content_type, body) = 405, ("text/plain", b"Method Not Allowed")
        else:
            status, (content_type, body) = 200, page(accept)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
            *([(b"allow", b"GET, HEAD")] if status == 405 else []),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app
