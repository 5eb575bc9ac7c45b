"""The chart's hook jobs: certificates without cert-manager, and what an uninstall would leave."""

import datetime
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy.engine import make_url

from grpcmesh.call import Workload
from grpcmesh.identity.credentials import Credentials
from meshmart.hooks import certificates, cleanup, credentials
from meshmart.hooks.api import KEPT, ApiError, Namespace
from meshmart.hooks.certificates import Issuer, Wanted, seconds
from tests.unit.meshmart.secrets_api import secrets_api

NOW = datetime.datetime.now(datetime.UTC)
LABELS = {"app.kubernetes.io/component": "certificate", "app.kubernetes.io/instance": "spring"}
SELECTOR = ",".join(f"{k}={v}" for k, v in LABELS.items())
WANTED = Wanted("example.org", "cluster.test", 24 * 3600, 8 * 3600, 3650 * 86400, LABELS)


@pytest.fixture
def secrets() -> Iterator[Namespace]:
    with secrets_api() as client:
        yield client


def issuer(secrets: Namespace, after_hours: float = 0) -> Issuer:
    return Issuer(secrets, WANTED, lambda: NOW + datetime.timedelta(hours=after_hours))


def identity(secrets: Namespace, workload: str) -> Credentials:
    kept = secrets.read(f"{workload}-tls")
    assert kept is not None
    return Credentials.parse(kept["tls.crt"], kept["tls.key"], kept["ca.crt"])


def test_each_workload_gets_an_identity_that_the_mesh_takes(secrets: Namespace) -> None:
    assert issuer(secrets).issue(["product", "order"]) == ["product", "order"]
    assert identity(secrets, "order").workload == Workload("example.org", "shop", "order")
    certificate = x509.load_pem_x509_certificate(identity(secrets, "order").cert_chain)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = names.get_values_for_type(x509.DNSName)
    assert dns == ["order.shop.svc.cluster.test", "order.shop.svc"]


def test_what_is_not_due_is_left_alone(secrets: Namespace) -> None:
    issuer(secrets).issue(["product"])
    assert issuer(secrets, after_hours=15).issue(["product", "user"]) == ["user"]


def test_what_is_due_is_renewed_by_the_same_ca(secrets: Namespace) -> None:
    issuer(secrets).issue(["product"])
    before = identity(secrets, "product")
    assert issuer(secrets, after_hours=17).issue(["product"]) == ["product"]
    after = identity(secrets, "product")
    assert after.serial != before.serial
    assert after.ca == before.ca


def test_what_another_ca_signed_is_replaced(secrets: Namespace) -> None:
    issuer(secrets).issue(["product"])
    secrets.delete("meshmart-ca")
    assert issuer(secrets).issue(["product"]) == ["product"]
    chain = x509.load_pem_x509_certificate(identity(secrets, "product").cert_chain)
    chain.verify_directly_issued_by(x509.load_pem_x509_certificate(identity(secrets, "product").ca))


def test_a_broken_secret_is_replaced(secrets: Namespace) -> None:
    secrets.write("product-tls", {"tls.crt": b"rubbish", "tls.key": b""}, LABELS)
    assert issuer(secrets).issue(["product"]) == ["product"]
    assert identity(secrets, "product").workload.service == "product"


@pytest.mark.parametrize(("text", "expected"), [("24h", 86400), ("1h30m", 5400), ("1.5h", 5400), ("90s", 90)])
def test_durations_are_those_of_go(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "24", "1 day", "h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text)


def test_an_uninstall_leaves_no_certificates_and_touches_nothing_else(secrets: Namespace) -> None:
    issuer(secrets).issue(["product", "order"])
    secrets.write("someone-else", {"tls.crt": b"", "tls.key": b""}, {"app.kubernetes.io/instance": "spring"})
    clock = Time()
    assert cleanup.clean(secrets, SELECTOR, clock.now, clock.sleep) == 3
    assert secrets.names("app.kubernetes.io/instance=spring") == ["someone-else"]


def test_a_secret_that_cert_manager_writes_late_is_deleted_too(secrets: Namespace) -> None:
    issuer(secrets).issue(["product"])
    clock = Time()

    def sleep(duration: float) -> None:
        clock.sleep(duration)
        if clock.now() == 2:
            secrets.write("product-tls", {"tls.crt": b"", "tls.key": b""}, LABELS)

    assert cleanup.clean(secrets, SELECTOR, clock.now, sleep) == 3
    assert secrets.names(SELECTOR) == []


def test_secrets_that_come_again_and_again_are_told(secrets: Namespace) -> None:
    clock = Time()

    def sleep(duration: float) -> None:
        clock.sleep(duration)
        secrets.write("product-tls", {"tls.crt": b"", "tls.key": b""}, LABELS)

    with pytest.raises(TimeoutError, match="again and again"):
        cleanup.clean(secrets, SELECTOR, clock.now, sleep)


def test_a_refusal_of_the_api_is_told_in_its_words() -> None:
    with (
        secrets_api("another token") as client,
        pytest.raises(ApiError, match="403 forbidden"),
    ):
        client.names(SELECTOR)


def test_outside_of_a_cluster_the_hooks_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cleanup.main(["--release", "spring", "--secrets", SELECTOR]) == 1
    assert credentials.main(["--signing-keys"]) == 1
    assert "no pod with a service account" in capsys.readouterr().err
    durations = ["--lifetime", "24h", "--renew-before", "8h", "--ca-lifetime", "87600h"]
    domains = ["--trust-domain", "example.org", "--cluster-domain", "cluster.test"]
    assert certificates.main([*durations, *domains, "product"]) == 1


def test_what_hooks_left_is_deleted_and_nothing_of_another_release() -> None:
    def made(name: str, release: str, component: str) -> dict[str, object]:
        labels = {"instance": release, "component": component, "part-of": "meshmart"}
        return {
            "metadata": {"name": name, "labels": {f"app.kubernetes.io/{k}": v for k, v in labels.items()}}
        }

    objects = {
        "jobs": {
            "migrations": made("migrations", "spring", "job"),
            "cleanup": made("cleanup", "spring", "job"),
            "other": made("other", "autumn", "job"),
        },
        "pods": {
            "test-order": made("test-order", "spring", "test"),
            "order-1": made("order-1", "spring", "service"),
        },
    }
    with secrets_api(objects=objects) as namespace:
        assert cleanup.clean_hooks(namespace, "spring") == 2
    assert {kind: set(kept) for kind, kept in objects.items()} == {
        "jobs": {"cleanup", "other"},
        "pods": {"order-1"},
    }


def test_credentials_are_made_once_and_kept(
    secrets: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Namespace, "of_this_pod", classmethod(lambda cls: secrets))
    ask = ["--database", "postgres.shop.svc", "--signing-keys", "--label", "a=b"]
    assert credentials.main(ask) == 0
    first = [secrets.read(name) for name in (credentials.DATABASE, credentials.SIGNING_KEYS)]
    assert credentials.main(ask) == 0
    assert [secrets.read(name) for name in (credentials.DATABASE, credentials.SIGNING_KEYS)] == first
    assert capsys.readouterr().out.split("\n")[2] == "meshmart-database: is there"
    url = (first[0] or {})["url"].decode()
    assert make_url(url).password == (first[0] or {})["password"].decode()
    (key,) = (first[1] or {}).values()
    assert isinstance(load_pem_private_key(key, None), Ed25519PrivateKey)


def test_each_service_gets_a_role_of_its_own_after_the_owner_s_url(
    secrets: Namespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Namespace, "of_this_pod", classmethod(lambda cls: secrets))
    owner = "postgresql://me:p%40ss@db.example.com:5433/shop?sslmode=verify-full&pool_size=2"
    secrets.create_kept("db", {"url": owner.encode()}, {})
    ask = ["--role", "order", "--role", "user", "--roles-like", "db"]
    assert credentials.main(ask) == 0
    made = {name: secrets.read(f"meshmart-database-{name}") or {} for name in ("order", "user")}
    assert credentials.main(ask) == 0
    assert made["order"] == secrets.read("meshmart-database-order")
    for service, data in made.items():
        url = make_url(data["url"].decode())
        assert (url.username, url.password) == (f"me_{service}", data["password"].decode())
        assert url.set(username="me", password="p@ss") == make_url(owner)
    assert made["order"]["password"] != made["user"]["password"]
    assert credentials.main(["--role", "chat", "--roles-at", "postgres.shop.svc"]) == 0
    bundled = make_url(str((secrets.read("meshmart-database-chat") or {})["url"].decode()))
    assert (bundled.username, bundled.host, bundled.database) == (
        "meshmart_chat",
        "postgres.shop.svc",
        "meshmart",
    )
    assert credentials.main(["--role", "chat", "--roles-like", "nothing"]) == 1
    assert "the Secret nothing has no key url" in capsys.readouterr().err


def test_a_secret_of_an_earlier_release_is_kept_from_now_on() -> None:
    kept: dict[str, object] = {"metadata": {"name": "meshmart-database"}, "data": {"a": ""}}
    with secrets_api(objects={"secrets": {"meshmart-database": kept}}) as namespace:
        assert not namespace.create_kept("meshmart-database", {"a": b"new"}, {})
    assert kept == {"metadata": {"name": "meshmart-database", "annotations": KEPT}, "data": {"a": ""}}


class Time:
    """Seconds that pass only by sleeping."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def sleep(self, duration: float) -> None:
        self._now += duration
