"""The Kubernetes API's Secrets of one namespace, in memory, over HTTP: what `meshmart.hooks` speaks."""

import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from meshmart.hooks.api import Secrets

TOKEN, NAMESPACE = "a-token", "shop"


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        _, name, query = self._where()
        if name:
            self._answer(200, self.server.kept[name]) if name in self.server.kept else self._fail(404)
            return
        wanted = dict(part.split("=") for part in query["labelSelector"][0].split(","))
        items = [s for s in self.server.kept.values() if s["metadata"]["labels"].items() >= wanted.items()]
        self._answer(200, {"items": items})

    def do_POST(self) -> None:
        secret = self._body()
        if secret["metadata"]["name"] in self.server.kept:
            self._fail(409)
            return
        self.server.kept[secret["metadata"]["name"]] = secret
        self._answer(201, secret)

    def do_PATCH(self) -> None:
        _, name, _ = self._where()
        if self.headers["Content-Type"] != "application/merge-patch+json":
            self._fail(415)
            return
        self.server.kept[name]["data"] |= self._body()["data"]
        self._answer(200, self.server.kept[name])

    def do_DELETE(self) -> None:
        _, name, _ = self._where()
        self._answer(200, self.server.kept.pop(name)) if name in self.server.kept else self._fail(404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        return

    def _where(self) -> tuple[str, str, dict[str, list[str]]]:
        url = urllib.parse.urlsplit(self.path)
        base = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        assert url.path.startswith(base)
        return base, url.path.removeprefix(base).lstrip("/"), urllib.parse.parse_qs(url.query)

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


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kept: dict[str, dict[str, Any]] = {}


@contextmanager
def secrets_api(token: str = TOKEN) -> Iterator[Secrets]:
    """A client of an empty namespace."""
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Secrets(f"http://127.0.0.1:{server.server_address[1]}", NAMESPACE, token, None)
        finally:
            server.shutdown()
            thread.join()
