"""The tour's wrong server: refused and counted, unless the client would talk to anybody."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.config import IdentityConfig, MeshConfig
from grpcmesh.member import Member
from local.catalog import OPERATOR, OUTSIDER
from meshmart.tour import wrong_server
from meshmart.tour.intruder import PATH


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    ca = CertificateAuthority()
    write_atomically(tmp_path / OPERATOR, ca.issue(OPERATOR).files())
    return ca


@pytest.fixture
async def member(tmp_path: Path, authority: CertificateAuthority) -> AsyncIterator[Member]:
    config = MeshConfig(OPERATOR, identity=IdentityConfig(tmp_path / OPERATOR))
    async with Member(config, sockets=False) as member:
        yield member


async def played(member: Member, certificates: Path) -> list[bool]:
    return [check.passed for check in await wrong_server.checks(member, certificates, "product", PATH)]


async def test_another_workload_is_refused_before_it_is_sent_anything(
    tmp_path: Path, authority: CertificateAuthority, member: Member
) -> None:
    write_atomically(tmp_path / OUTSIDER, authority.issue(OUTSIDER).files())
    assert await played(member, tmp_path) == [True, True, True]


async def test_the_checks_fail_for_a_client_that_takes_the_server(
    tmp_path: Path, authority: CertificateAuthority, member: Member
) -> None:
    write_atomically(tmp_path / OUTSIDER, authority.issue("product").files())
    assert await played(member, tmp_path) == [False, False, False]
