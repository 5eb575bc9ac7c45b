"""Where certificates come from, and what a server requires of them."""

from pathlib import Path

import pytest

from grpcmesh.ca import CertificateAuthority, Leaf, write_atomically
from grpcmesh.config import IdentityConfig, MeshConfig
from grpcmesh.identity import Cause, Credentials, IdentityError, IdentityStore, Material


@pytest.fixture(scope="module")
def ca() -> CertificateAuthority:
    return CertificateAuthority()


class Source:
    """Certificates from the application's code."""

    def __init__(self, leaf: Leaf) -> None:
        self.leaf: Leaf | None = leaf

    def __call__(self) -> Material:
        if self.leaf is None:
            raise ConnectionError("the secret store is away")
        return Material(self.leaf.tls_crt, self.leaf.tls_key, self.leaf.ca_crt)


def test_certificates_of_a_source_are_taken_and_kept_while_it_fails(ca: CertificateAuthority) -> None:
    source = Source(ca.issue("ping"))
    store = IdentityStore.of(MeshConfig("ping"), serves=False, source=source)
    store.load()
    first = store.current.serial
    source.leaf = ca.issue("ping")
    assert store.poll()
    second = store.current.serial
    assert second != first
    source.leaf = None
    assert not store.poll()
    assert store.current.serial == second
    assert "the source of certificates failed: ConnectionError" in str(store.problems[0])
    source.leaf = ca.issue("order")
    assert not store.poll()
    assert store.problems[0].cause is Cause.WRONG_WORKLOAD
    source.leaf = ca.issue("ping")
    assert store.poll()
    assert store.problems == ()


def test_a_source_that_fails_at_the_start_is_told() -> None:
    source = Source(CertificateAuthority().issue("ping"))
    source.leaf = None
    store = IdentityStore.of(MeshConfig("ping"), serves=False, source=source)
    with pytest.raises(IdentityError, match="the secret store is away"):
        store.load()


def test_a_server_requires_more_of_a_certificate_than_a_client(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    write_atomically(tmp_path, ca.issue("ping", dns_names=["elsewhere"]).files())
    store = IdentityStore.of(MeshConfig("ping", identity=IdentityConfig(tmp_path)), serves=False)
    store.load()
    with pytest.raises(IdentityError, match=r"ping\.default\.svc\.cluster\.local"):
        store.require_server()
    write_atomically(tmp_path, ca.issue("ping").files())
    renewed: list[Credentials] = []
    store.subscribe(renewed.append)
    store.require_server()
    assert renewed == [store.current]
