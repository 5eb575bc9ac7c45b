"""Certificates with their age and their next renewal."""

import json

import pytest

from meshmart.console import frame
from meshmart.console.certificates import distinct, with_renewal
from meshmart.console.model import Certificate
from meshmart.console.server import given_renew_before
from tests.unit.meshmart.console.pages import EPOCH, Mesh, replica

DAY = Certificate("aa", EPOCH, EPOCH + 86_400)


@pytest.mark.parametrize(
    ("renew_before", "renewal"),
    [
        (28_800, EPOCH + 57_600),  # the chart's values: 8 h before the end of 24 h
        (1, EPOCH + 86_399),
        (86_400, EPOCH + 57_600),  # as long as it lives: at two thirds, as cert-manager does
        (1e9, EPOCH + 57_600),
        (None, None),
    ],
)
def test_the_next_renewal_is_that_of_cert_manager(renew_before: float | None, renewal: float | None) -> None:
    certificate = with_renewal(DAY, renew_before)
    assert certificate is not None
    assert certificate.renewal == renewal


def test_without_a_certificate_there_is_no_renewal() -> None:
    assert with_renewal(None, 60) is None


def test_each_certificate_is_told_once_and_the_first_to_end_comes_first() -> None:
    later = Certificate("bb", EPOCH, EPOCH + 90_000)
    assert distinct([later, None, DAY, later, DAY]) == (DAY, later)


def shop() -> Mesh:
    mesh = Mesh(product=[replica(1), replica(2)])
    mesh.process("product-1").certificate("ab" * 20, EPOCH + 3600)
    mesh.process("product-2").certificate("cd" * 20, EPOCH + 7200)
    return mesh


def test_the_cluster_says_when_certificates_are_renewed() -> None:
    mesh = shop()
    status = {"services": {"product": {"replicas": mesh.services["product"], "renew_before": 1200.0}}}
    mesh.look()
    mesh.observer.cluster(status)
    product = mesh.observer.snapshot(mesh.now, EPOCH).services[0]
    assert [c.renewal for c in product.certificates] == [EPOCH + 2400, EPOCH + 6000]
    assert [r.certificate for r in product.replicas] == list(product.certificates)


def test_a_cluster_that_does_not_say_it_leaves_it_to_the_chart_and_else_it_is_not_known() -> None:
    mesh = shop()
    assert [c.renewal for c in mesh.look().services[0].certificates] == [None, None]
    mesh.observer._renew_before = 600.0
    assert [c.renewal for c in mesh.look().services[0].certificates] == [EPOCH + 3000, EPOCH + 6600]


def test_a_frame_has_each_certificate_once_and_replicas_name_it_by_its_serial() -> None:
    mesh = shop()
    mesh.process("product-2").certificate("ab" * 20, EPOCH + 3600)
    mesh.observer._renew_before = 600.0
    of = json.loads(frame.encode(mesh.look(), [], {}))["services"][0]
    times = {"not_before": EPOCH, "not_after": EPOCH + 3600, "renewal": EPOCH + 3000}
    assert of["certificates"] == [{"serial": "ab" * 20, **times}]
    assert [r["serial"] for r in of["replicas"]] == ["abababab", "abababab"]


def test_the_environment_says_how_long_before_their_end_certificates_are_renewed() -> None:
    name = "MESHMART_CONSOLE_RENEW_BEFORE"
    assert given_renew_before({}) is None
    assert given_renew_before({name: ""}) is None
    assert given_renew_before({name: "28800"}) == 28_800
    for wrong in ("8h", "0", "-1", "nan", "inf"):
        with pytest.raises(ValueError, match=f"{name}='{wrong}' must be"):
            given_renew_before({name: wrong})
