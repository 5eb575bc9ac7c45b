"""The scene `intruder`: callers and servers without permission are refused, and each refusal is counted."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc

from grpcmesh.ca import CertificateAuthority
from local.catalog import NAMESPACE, OPERATOR, OUTSIDER
from meshmart.cluster import Replica
from meshmart.tour import wrong_server
from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.peer import call_with, call_with_old_tls
from meshmart.tour.stage import SceneError, Stage, no_failed_calls

NAME = "intruder"
SHOWS = CATALOGUE[NAME]

PATH = "/ecommerce.ProductService/GetProduct"


async def play(stage: Stage) -> list[Check]:
    replica = (await stage.with_replicas("product", 3))[0]
    checks: list[Check] = []
    async with stage.browsing() as load:
        await stage.settle(load, 50)
        for what, metric, attempt in _attempts(stage.cluster.certificates, replica):
            stage.say(what)
            checks += await _refused(stage, replica, what, metric, attempt)
        if stage.member is not None:
            stage.say(wrong_server.WHAT)
            checks += await wrong_server.checks(stage.member, stage.cluster.certificates, "product", PATH)
        await stage.settle(load, 50)
    return [*checks, no_failed_calls(stage, load)]


Attempt = Callable[[], Awaitable[bool]]


def _attempts(certificates: Path, replica: Replica) -> list[tuple[str, str, Attempt]]:
    """Return for each attempt a description, the metric that must count it, and the attempt itself.

    An attempt returns whether it ended as it should.
    """
    ca = _read(certificates, OPERATOR, "ca.crt")
    foreign = CertificateAuthority(namespace=NAMESPACE).issue("storefront")
    outsider = grpc.ssl_channel_credentials(
        ca, _read(certificates, OUTSIDER, "tls.key"), _read(certificates, OUTSIDER, "tls.crt")
    )

    async def without_certificate() -> bool:
        return await _ends(grpc.ssl_channel_credentials(ca), replica, grpc.StatusCode.UNAVAILABLE)

    async def with_foreign_ca() -> bool:
        credentials = grpc.ssl_channel_credentials(ca, foreign.tls_key, foreign.tls_crt)
        return await _ends(credentials, replica, grpc.StatusCode.UNAVAILABLE)

    async def with_old_tls() -> bool:
        return not await call_with_old_tls(replica, PATH, certificates)

    async def without_permission() -> bool:
        return await _ends(outsider, replica, grpc.StatusCode.PERMISSION_DENIED)

    return [
        ("no certificate", "mesh_tls_handshake_failures_total", without_certificate),
        ("a certificate of a foreign CA", "mesh_tls_handshake_failures_total", with_foreign_ca),
        ("TLS 1.2", "mesh_tls_handshake_failures_total", with_old_tls),
        (f"the workload {OUTSIDER}, which may not", "mesh_authz_denials_total", without_permission),
    ]


async def _ends(credentials: grpc.ChannelCredentials, replica: Replica, expected: grpc.StatusCode) -> bool:
    return await call_with(credentials, replica, PATH) is expected


async def _refused(stage: Stage, replica: Replica, what: str, metric: str, attempt: Attempt) -> list[Check]:
    before = await _count(stage, replica, metric)
    refused = await attempt()

    async def look() -> bool | None:
        return True if await _count(stage, replica, metric) > before else None

    try:
        counted = await stage.until(look, f"{metric} counts it", 5, interval=0.2)
    except SceneError:
        counted = False
    return [
        Check(f"refused: {what}", refused, 1, relation="=="),
        Check(f"counted by {metric}", counted, 1, relation="=="),
    ]


async def _count(stage: Stage, replica: Replica, metric: str) -> float:
    """Return the sum of a counter's series on one replica."""
    samples = await stage.cluster.metrics("product", replica.id)
    return sum(s.value for s in samples if s.name == metric)


def _read(certificates: Path, service: str, name: str) -> bytes:
    return (certificates / service / name).read_bytes()
