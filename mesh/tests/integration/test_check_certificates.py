"""`python -m grpcmesh check`: each cause of a certificate is made to happen, ours and a server's."""

import datetime
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grpcmesh.ca import CertificateAuthority, write_atomically
from tests.integration.checkkit import Workload, workloads
from tests.integration.serverkit import until

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
async def workload(tmp_path: Path) -> AsyncIterator[Workload]:
    async with workloads(tmp_path) as made:
        yield made


async def test_a_missing_certificate(workload: Workload) -> None:
    (workload.certs / "tls.crt").unlink()
    found = await workload.check()
    assert found.keys() == {"certificate_missing"}
    assert str(workload.certs / "tls.crt") in found["certificate_missing"].problem


async def test_a_certificate_that_cannot_be_read(workload: Workload) -> None:
    (workload.certs / "tls.key").unlink()
    (workload.certs / "tls.key").mkdir()  # permissions do not stop root, who may run this test
    assert (await workload.check()).keys() == {"certificate_unreadable"}


async def test_a_directory_that_cannot_be_looked_into(workload: Workload) -> None:
    """A name that is too long stops root, too, unlike permissions; both ended the command with a stack."""
    found = await workload.check(MESH_IDENTITY_DIRECTORY="/" + "x" * 300)
    assert found.keys() == {"certificate_unreadable"}
    assert "File name too long" in found["certificate_unreadable"].problem


async def test_a_certificate_that_is_malformed(workload: Workload) -> None:
    (workload.certs / "tls.crt").write_text("nonsense")
    assert (await workload.check()).keys() == {"certificate_malformed"}


def issued(workload: Workload, **options: Any) -> None:
    """Give the workload another certificate."""
    write_atomically(workload.certs, workload.served.ca.issue("client", **options).files())


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def test_an_expired_certificate(workload: Workload) -> None:
    issued(workload, not_before=now() - HOUR, lifetime=-HOUR / 2)
    found = await workload.check()
    assert found.keys() == {"certificate_expired"}


async def test_a_certificate_that_is_not_yet_valid(workload: Workload) -> None:
    issued(workload, not_before=now() + HOUR)
    found = await workload.check()
    assert found.keys() == {"certificate_not_yet_valid"}
    assert "clock" in found["certificate_not_yet_valid"].remedy


async def test_a_certificate_that_is_about_to_expire(workload: Workload) -> None:
    issued(workload, not_before=now() - 9 * HOUR, lifetime=HOUR)
    found = await workload.check()
    assert found.keys() == {"certificate_expiring"}
    assert "in 60 minutes" in found["certificate_expiring"].problem


async def test_a_certificate_of_another_issuer_than_our_bundle(workload: Workload) -> None:
    foreign = CertificateAuthority(generation=2).issue("client").files()
    write_atomically(workload.certs, foreign | {"ca.crt": workload.served.ca.pem})
    assert (await workload.check()).keys() == {"certificate_unknown_issuer"}


async def test_a_certificate_of_another_workload(workload: Workload) -> None:
    issued(workload, uris=[workload.served.ca.spiffe_id("order")])
    assert (await workload.check()).keys() == {"certificate_wrong_workload"}


async def test_a_certificate_without_our_dns_name(workload: Workload) -> None:
    issued(workload, dns_names=["order"])
    assert (await workload.check()).keys() == {"certificate_dns_name"}


async def test_peers_whose_bundle_lacks_our_issuer(workload: Workload) -> None:
    foreign = CertificateAuthority(generation=2)
    files = foreign.issue("client").files()
    write_atomically(workload.certs, files | {"ca.crt": foreign.pem + workload.served.ca.pem})
    found = await workload.check()
    assert found.keys() == {"issuer_not_in_peers_bundle"}
    assert "mesh CA generation 2" in found["issuer_not_in_peers_bundle"].problem


async def test_a_server_of_another_issuer(workload: Workload) -> None:
    ca = CertificateAuthority(generation=2)
    write_atomically(workload.certs, ca.issue("client").files())
    found = await workload.check()
    assert found.keys() == {"server_certificate_unknown_issuer"}


async def test_a_server_that_is_another_workload(workload: Workload) -> None:
    found = await workload.check(MESH_IDENTITY_SERVERS="ping=spiffe://cluster.local/ns/shop/sa/ping")
    assert found.keys() == {"server_certificate_wrong_workload"}


async def test_a_server_without_the_dns_name(workload: Workload) -> None:
    workload.dns.hosts("127.0.0.1", name="pong.default.svc.cluster.local.")
    found = await workload.check("pong", MESH_IDENTITY_SERVERS=f"pong={workload.served.ca.spiffe_id('ping')}")
    assert found.keys() == {"server_certificate_dns_name"}


async def test_a_server_whose_certificate_has_expired_by_our_clock(workload: Workload) -> None:
    """Ours lives longer. OpenSSL looks at the clock of the system, so the certificate really ends."""
    workload.served.write_certificate(
        workload.served.ca.issue("ping", lifetime=datetime.timedelta(seconds=2))
    )
    serial = workload.served.identity.current.serial
    identity = workload.served.identity
    await until(lambda: identity.current.serial != serial and time.time() >= identity.current.not_after)
    found = await workload.check()
    assert found.keys() == {"server_certificate_expired"}
