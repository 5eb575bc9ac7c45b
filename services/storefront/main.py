"""The storefront: `python -m services.storefront.main`."""

import asyncio
import os
import sys
import time
from functools import partial

from starlette.middleware import Middleware

from grpcmesh.call import Workload
from grpcmesh.clock import monotonic
from grpcmesh.config import ConfigError
from grpcmesh.runtime import App, run
from grpcmesh.telemetry import HttpMetrics, MetricsMiddleware, TraceMiddleware
from services.storefront.app import always_traced, build_app
from services.storefront.calls import Caller
from services.storefront.clients import shop
from services.storefront.server import HttpServer
from services.storefront.settings import Settings
from services.storefront.site import Site
from services.storefront.tracking import Analytics, Tracking


async def build(settings: Settings, app: App) -> None:
    """Build the storefront."""
    mesh, telemetry = app.config, app.telemetry

    def identity(service: str) -> str:
        return str(Workload(mesh.identity.trust_domain, mesh.namespace, service))

    caller, closing = Caller(monotonic), asyncio.Event()
    tracking = Tracking(Analytics(app.channel("analytics")), time.time)
    site = Site(
        shop(app.channel, caller, settings.narrow_tokens),
        settings,
        mesh.replica,
        caller.name_of,
        identity,
        tracking,
    )
    await app.enter(tracking.running())
    traced = Middleware(TraceMiddleware, tracer=telemetry.tracer, force=always_traced)
    metrics = HttpMetrics()
    telemetry.add(metrics)
    counted = Middleware(MetricsMiddleware, metrics=metrics, clock=monotonic)
    web = build_app(site, telemetry.log, closing, (traced, counted), lambda: app.server.draining)
    address = (settings.host, settings.port)
    http = await app.enter(HttpServer(web, *address, closing, mesh.drain.grace, proxies=settings.proxies))
    app.spawn(http.watch(), "http")
    telemetry.log.info("serving pages", host=settings.host, port=http.port)


if __name__ == "__main__":
    try:
        given = Settings.from_env(os.environ)
    except ConfigError as e:
        sys.stderr.writelines(f"storefront: {problem}\n" for problem in e.problems)
        sys.exit(2)
    run("storefront", partial(build, given))
