"""Targets as applications write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.config import MeshConfig
from grpcmesh.target import Target, TargetError, parse_endpoint

SUFFIX = "svc.cluster.local."


def parse(text: str) -> Target:
    return Target.parse(text, "shop", "cluster.local")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("product", Target(f"product.shop.{SUFFIX}", None, "product", "shop")),
        ("Product", Target(f"product.shop.{SUFFIX}", None, "product", "shop")),
        ("product:8443", Target(f"product.shop.{SUFFIX}", 8443, "product", "shop")),
        ("product.billing", Target(f"product.billing.{SUFFIX}", None, "product", "billing")),
        ("product.billing:1", Target(f"product.billing.{SUFFIX}", 1, "product", "billing")),
        ("product.billing.svc", Target(f"product.billing.{SUFFIX}", None, "product", "billing")),
        (f"product.billing.{SUFFIX}", Target(f"product.billing.{SUFFIX}", None, "product", "billing")),
        (f"product.billing.{SUFFIX[:-1]}:9", Target(f"product.billing.{SUFFIX}", 9, "product", "billing")),
        (
            f"pod-0.product.billing.{SUFFIX}",
            Target(f"pod-0.product.billing.{SUFFIX}", None, "product", "billing"),
        ),
        ("api.example.com:443", Target("api.example.com.", 443)),
        ("example.com.", Target("example.com.")),
        ("product.", Target("product.")),
        (f"billing.{SUFFIX}", Target(f"billing.{SUFFIX}")),
        ("my_service", Target(f"my_service.shop.{SUFFIX}", None, "my_service", "shop")),
        ("dns:///product", Target(f"product.shop.{SUFFIX}", None, "product", "shop", "dns")),
        ("dns:///product.b:84", Target(f"product.b.{SUFFIX}", 84, "product", "b", "dns")),
        ("srv:///api.example.com", Target("api.example.com.", scheme="srv")),
        ("static:///10.0.0.1:1, [::1]:2", Target("", scheme="static", addresses=("10.0.0.1:1", "[::1]:2"))),
    ],
)
def test_a_target_is_understood(text: str, expected: Target) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'' is not a label"),
        (".", "'' is not a label"),
        ("a..b", "'' is not a label"),
        ("-a", "'-a' is not a label"),
        ("pröduct", "'pröduct' is not a label"),
        ("a b", "'a b' is not a label"),
        ("a\nb", "is not a label"),
        ("a/b", "'a/b' is not a label"),
        ("a" * 64, "is not a label"),
        ("a." * 130, "at most 253 characters"),
        ("product:", "'' is not a port"),
        ("product:0", "'0' is not a port"),
        ("product:65536", "'65536' is not a port"),
        ("product:http", "'http' is not a port"),
        ("product:１２", "is not a port"),
        ("product:-1", "'-1' is not a port"),
        ("xds:///product", "the scheme 'xds' is not supported"),
        ("://product", "the scheme '' is not supported"),
        ("dns://product", "write dns:///product, with three slashes"),
        ("dns://10.0.0.53/product", "the nameserver is MESH_RESOLVER_NAMESERVER, for all targets"),
        ("dns:///", "'' is not a label"),
        ("dns:///127.0.0.1:1", "is an address; use static:///ADDRESS:PORT"),
        ("static:///", "use IP addresses"),
        ("static:///10.0.0.1", "'10.0.0.1' has no port"),
        ("static:///product:1", "'product' does not appear to be an IPv4 or IPv6 address"),
        ("static:///10.0.0.1:1,,10.0.0.2:1", "use IP addresses"),
        ("127.0.0.1:50051", "is an address; use static:///ADDRESS:PORT"),
        ("127.0.0.1", "is an address"),
        ("[::1]:50051", "is an address"),
        ("::1", "is an address"),
    ],
)
def test_a_target_that_is_none_is_refused_with_the_reason(text: str, told: str) -> None:
    with pytest.raises(TargetError, match="target ") as e:
        parse(text)
    assert told in str(e.value)


@given(st.text() | st.from_regex(r"[a-z0-9_.:\[\]-]{0,300}"))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = parse(text)
    except TargetError:
        return
    assert target.name.endswith(".")
    assert target.name.isascii()
    assert parse(target.name).name == target.name


def test_the_configuration_names_services_of_other_namespaces() -> None:
    config = MeshConfig("x", namespace="shop")
    assert config.dns_name("product") == "product.shop.svc.cluster.local."
    assert config.dns_name("product.billing:1") == "product.billing.svc.cluster.local."
    assert not config.target("api.example.com").in_cluster


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:53", ("127.0.0.1", 53)),
        ("[::1]:54", ("::1", 54)),
        ("10.0.0.10", ("10.0.0.10", 5)),
        ("::1", ("::1", 5)),
        ("[::1]", ("::1", 5)),
        ("fe80::1%eth0", ("fe80::1%eth0", 5)),
    ],
)
def test_an_endpoint_is_read(text: str, expected: tuple[str, int]) -> None:
    assert parse_endpoint(text, 5) == expected


@pytest.mark.parametrize(
    "text", ["", "x:1", "127.0.0.1:", "[::1", "[::1]53", "1.2.3.4:99999", "::1:x", "1.2.3"]
)
def test_an_endpoint_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_endpoint(text, 5)
    with pytest.raises(ValueError, match="has no port"):
        parse_endpoint("127.0.0.1")
