"""The Kubernetes API of one namespace, in memory, over HTTP: what `meshmart.hooks` speaks of it."""

import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from meshmart.hooks.api import Namespace

TOKEN, NAMESPACE = "a-token", "shop"


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        kept, name, query = self._where()
        if name:
            self._answer(200, kept[name]) if name in kept else self._fail(404)
            return
        wanted = dict(part.split("=") for part in query["labelSelector"][0].split(","))
        items = [o for o in kept.values() if o["metadata"]["labels"].items() >= wanted.items()]
        self._answer(200, {"items": items})

    def do_POST(self) -> None:
        kept, _, _ = self._where()
        made = self._body()
        if made["metadata"]["name"] in kept:
            self._fail(409)
            return
        kept[made["metadata"]["name"]] = made
        self._answer(201, made)

    def do_PATCH(self) -> None:
        kept, name, _ = self._where()
        if self.headers["Content-Type"] != "application/merge-patch+json":
            self._fail(415)
            return
        _merge(kept[name], self._body())
        self._answer(200, kept[name])

    def do_DELETE(self) -> None:
        kept, name, _ = self._where()
        self._answer(200, kept.pop(name)) if name in kept else self._fail(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return

    def _where(self) -> tuple[dict[str, Any], str, dict[str, list[str]]]:
        """The objects of the kind that is meant, the name of one, the query."""
        url = urllib.parse.urlsplit(self.path)
        for base, kind in (("/api/v1", "secrets"), ("/api/v1", "pods"), ("/apis/batch/v1", "jobs")):
            path = f"{base}/namespaces/{NAMESPACE}/{kind}"
            if url.path.startswith(path):
                name = url.path.removeprefix(path).lstrip("/")
                return self.server.kept.setdefault(kind, {}), name, urllib.parse.parse_qs(url.query)
        raise AssertionError(f"no such path: {url.path}")

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _fail(self, code: int) -> None:
        self._answer(code, {"kind": "Status", "message": f"no: {code}"})

    def _answer(self, code: int, body: object) -> None:
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            code, body = 403, {"message": "forbidden: no such token"}
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """RFC 7396, without its deletions."""
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = value


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        #: By kind and name.
        self.kept: dict[str, dict[str, Any]] = {}


@contextmanager
def secrets_api(
    token: str = TOKEN, objects: "dict[str, dict[str, Any]] | None" = None
) -> Iterator[Namespace]:
    """A client of a namespace, which is empty unless `objects` are in it (by kind and name)."""
    with _Server() as server:
        server.kept = objects if objects is not None else {}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Namespace(f"http://127.0.0.1:{server.server_address[1]}", NAMESPACE, token, None)
        finally:
            server.shutdown()
            thread.join()
