"""AdminServer: a small HTTP server beside the mesh server, in the same event loop."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from grpcmesh.admin.access import Access, Asked
from grpcmesh.admin.page import render
from grpcmesh.admin.style import POLICY
from grpcmesh.config import AdminConfig
from grpcmesh.http import HttpServer

State = Callable[[], Mapping[str, Any]]
Settings = Callable[[], Mapping[str, Sequence[Mapping[str, str]]]]
_Endpoint = Callable[[Request], Awaitable[Response]]

_REFUSALS = {
    401: "a token is needed: Authorization: Bearer TOKEN\n",
    403: "only for callers on this host, by address; other hosts need a token (MESH_ADMIN_TOKEN_FILE)\n",
}


class AdminServer(HttpServer):
    """Serves `/metrics`, `/`, `/state.json` and `/settings.json`.

    Args:
        config: Address and access rules. Port 0 takes a free port.
        registry: The metrics that `/metrics` shows.
        state: Returns the state that the page shows: `service`, `replica`, `certificate` (`serial`,
            `not_after` in unix seconds, `workload`) and `targets` (each a `MeshChannel.state()`). Other keys
            are shown as they are.
        settings: Returns what `/settings.json` has: the settings of the process under the empty name, and
            those of each target under its own, each with `name`, `value` and `source`. None: there is no
            such page.

    Raises:
        AccessError: The port would be open to every host that reaches it.
    """

    def __init__(
        self,
        config: AdminConfig,
        registry: CollectorRegistry,
        state: State,
        settings: Settings | None = None,
    ) -> None:
        super().__init__(admin_app(registry, state, Access(config), settings), config.address, "admin")


class Selection:
    """The samples of a registry that have one of the given names.

    A reader that needs a few of them saves the process most of the work of a scrape, which is the encoding.

    Args:
        registry: All metrics.
        names: Names of samples, such as `mesh_picks_total`.
    """

    def __init__(self, registry: CollectorRegistry, names: Collection[str]) -> None:
        self._registry, self._names = registry, names

    def collect(self) -> Iterator[Metric]:
        """Return the families that have such samples, reduced to them."""
        for family in self._registry.collect():
            if samples := [sample for sample in family.samples if sample.name in self._names]:
                selected = Metric(family.name, family.documentation, family.type, family.unit)
                selected.samples = samples
                yield selected


def admin_app(
    registry: CollectorRegistry,
    state: State,
    access: Access | None = None,
    settings: Settings | None = None,
) -> Starlette:
    """Return the routes as an ASGI application, for tests and for mounting elsewhere.

    Args:
        registry: See `AdminServer`.
        state: See `AdminServer`.
        access: Decides who may see what. If None, every request is served, for an application that has its
            own access control.
        settings: See `AdminServer`.
    """

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        names = frozenset(request.query_params.getlist("name[]"))
        # choose_encoder's type already names the charset; Starlette must not add another.
        return Response(
            encode(Selection(registry, names) if names else registry), headers={"content-type": content_type}
        )

    async def state_json(request: Request) -> Response:
        return JSONResponse(dict(state()))

    async def page(request: Request) -> Response:
        return HTMLResponse(render(state()), headers={"content-security-policy": POLICY})

    async def settings_json(request: Request) -> Response:
        return JSONResponse(dict(settings()) if settings else {}, 200 if settings else 404)

    return Starlette(
        routes=[
            Route("/metrics", _guarded(metrics, access, metrics=True)),
            Route("/state.json", _guarded(state_json, access)),
            Route("/settings.json", _guarded(settings_json, access)),
            Route("/", _guarded(page, access)),
        ],
    )


def _guarded(endpoint: _Endpoint, access: Access | None, metrics: bool = False) -> _Endpoint:
    if access is None:
        return endpoint

    async def guarded(request: Request) -> Response:
        peer = request.client.host if request.client else ""
        headers = request.headers
        asked = Asked(peer, headers.get("host", ""), headers.get("authorization", ""))
        status = await access.status(asked, metrics)
        if status == 200:
            return await endpoint(request)
        challenge = {"www-authenticate": 'Bearer, Basic realm="admin"'} if status == 401 else {}
        return PlainTextResponse(_REFUSALS[status], status, challenge)

    return guarded
