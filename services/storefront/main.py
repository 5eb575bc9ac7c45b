"""The storefront: `python -m services.storefront.main`."""

import asyncio
import os

from starlette.middleware import Middleware

from mesh.call import Workload
from mesh.clock import monotonic
from mesh.runtime import App, run
from mesh.telemetry.http import TraceMiddleware
from services.storefront.app import always_traced, build_app
from services.storefront.calls import Caller
from services.storefront.clients import shop
from services.storefront.server import HttpServer
from services.storefront.settings import Settings
from services.storefront.site import Site


async def build(app: App) -> None:
    """Puts the storefront together."""
    settings = Settings.from_env(os.environ)
    caller, closing = Caller(monotonic), asyncio.Event()
    telemetry = app.member.telemetry
    mesh = app.config

    def identity(service: str) -> str:
        return str(Workload(mesh.identity.trust_domain, mesh.namespace, service))

    site = Site(shop(app.channel, caller), settings, mesh.replica, caller.name_of, identity)
    traced = Middleware(TraceMiddleware, tracer=telemetry.tracer, force=always_traced)
    web = build_app(site, telemetry.log, closing, (traced,))
    await app.enter(HttpServer(web, settings.host, settings.port, closing, mesh.drain.grace))


if __name__ == "__main__":
    run("storefront", build)
