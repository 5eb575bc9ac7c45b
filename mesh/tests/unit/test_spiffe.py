"""SPIFFE ids with any path, and patterns of them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.authz import Policy, PolicyError
from grpcmesh.call import Kind, Method, Workload
from grpcmesh.config import ConfigError, IdentityConfig
from grpcmesh.spiffe import domain_of, is_pattern, matches

ID = "spiffe://example.org/region/eu/web"


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        (ID, [ID], ["spiffe://example.org/region/eu/web2", "spiffe://example.org/region/eu", ID + "/"]),
        (
            "spiffe://example.org/region/*/web",
            [ID, "spiffe://example.org/region/us/web"],
            [
                "spiffe://example.org/region/web",
                "spiffe://example.org/region/eu/x/web",
                "spiffe://example.org/region//web",
                "spiffe://example.org/region/eu/web/x",
                "spiffe://example.com/region/eu/web",
            ],
        ),
        (
            "spiffe://example.org/region/**",
            [ID, "spiffe://example.org/region/a", "spiffe://example.org/region/a/b/c"],
            ["spiffe://example.org/region", "spiffe://example.org/region/", "spiffe://example.org/regions/a"],
        ),
        (
            "spiffe://example.org/**",
            [ID, "spiffe://example.org/a"],
            [
                "spiffe://example.org",
                "spiffe://example.org.evil/a",
                "spiffe://xexample.org/a",
                "spiffe://example.org/a?b",
                "spiffe://example.org/../a",
                "spiffe://example.org/a\n",
                "https://example.org/a",
            ],
        ),
        ("spiffe://a.b/x.y/*", ["spiffe://a.b/x.y/z"], ["spiffe://aXb/x.y/z", "spiffe://a.b/xXy/z"]),
    ],
)
def test_a_pattern_matches_whole_segments_of_one_trust_domain(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    assert is_pattern(pattern)
    assert [uri for uri in matching if not matches(pattern, uri)] == []
    assert [uri for uri in others if matches(pattern, uri)] == []


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "spiffe://*/web", "spiffe://example.org", "spiffe://example.org/", "spiffe://example.org/we*b",
        "spiffe://example.org/**/web", "spiffe://example.org/***", "spiffe://example.org/a/",
        "//example.org/*",
        "spiffe://EXAMPLE.org/*", "spiffe://example.org/[a-z]", "spiffe://example.org/" + "a" * 3000,
    ],
)  # fmt: skip
def test_what_is_no_pattern_is_refused(text: str) -> None:
    assert not is_pattern(text)
    assert domain_of(text) == ""
    with pytest.raises(PolicyError):
        Policy.parse(f'[[allow]]\nfrom = ["{text}"]\nmethods = ["a.B/C"]')
    if text:
        with pytest.raises(ConfigError):
            IdentityConfig(servers={"payment": text})


segments = st.text(st.sampled_from("ab.-_"), min_size=1, max_size=3).filter(lambda s: s not in (".", ".."))


@given(st.lists(segments, min_size=1, max_size=4), st.lists(segments, min_size=1, max_size=4), st.data())
def test_a_star_stands_for_one_segment(given: list[str], other: list[str], data: st.DataObject) -> None:
    starred = data.draw(st.sets(st.integers(0, len(given) - 1)))
    pattern = "spiffe://d/" + "/".join("*" if i in starred else s for i, s in enumerate(given))
    expected = len(other) == len(given) and all(
        i in starred or s == o for i, (s, o) in enumerate(zip(given, other, strict=False))
    )
    assert matches(pattern, "spiffe://d/" + "/".join(other)) == expected
    assert matches(pattern, "spiffe://d/" + "/".join(given))


def test_a_hostile_id_takes_no_long_time() -> None:
    begin = time.process_time()
    for _ in range(100):
        matches("spiffe://d/" + "/".join(["*"] * 200) + "/**", "spiffe://d/" + "a/" * 1000 + "!")
    assert time.process_time() - begin < 5  # CPU seconds; exponential time would never end


METHOD = Method.parse("/shop.Shop/Buy", Kind.UNARY)
POLICY = """
[[allow]]
from = ["web", "spiffe://example.org/region/*/web", "spiffe://cluster.local/ns/batch/sa/*",
        "spiffe://partner.example/ns/shop/sa/buyer"]
methods = ["shop.Shop/Buy"]
"""


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("spiffe://cluster.local/ns/shop/sa/web", True),
        ("spiffe://cluster.local/ns/other/sa/web", False),
        ("spiffe://partner.example/ns/shop/sa/web", False),
        (ID, True),
        ("spiffe://example.org/region/eu/x/web", False),
        ("spiffe://cluster.local/region/eu/web", False),
        ("spiffe://cluster.local/ns/batch/sa/nightly", True),
        ("spiffe://partner.example/ns/shop/sa/buyer", True),
        ("spiffe://partner.example/ns/shop/sa/seller", False),
        ("spiffe://cluster.local/web", False),
    ],
)
def test_the_policy_names_callers_of_other_namespaces_trust_domains_and_paths(
    uri: str, allowed: bool
) -> None:
    caller = Workload.of_id(uri)
    assert caller is not None
    assert str(caller) == uri
    assert Policy.parse(POLICY).allows(caller, METHOD, "cluster.local", "shop") is allowed


def test_a_workload_of_another_path_has_no_service_that_a_short_name_could_mean() -> None:
    found = Workload.of_id("spiffe://cluster.local/web")
    assert found == Workload("cluster.local", "", "", "/web")
    assert not Policy.parse(POLICY).allows(found, METHOD, "cluster.local", "")
    assert Workload.of_id("spiffe://cluster.local") is None
    assert Workload.of_id("spiffe://cluster.local/ns/shop/sa/web") == Workload("cluster.local", "shop", "web")


@pytest.mark.parametrize(
    "settings",
    [
        {"spiffe_id": "spiffe://other/web"},
        {"spiffe_id": "web"},
        {"bundles": {"cluster.local": "/ca.pem"}},
        {"bundles": {"Partner": "/ca.pem"}},
        {"bundles": {"spiffe://partner": "/ca.pem"}},
        {"endpoint_socket": "tcp://127.0.0.1:8081"},
        {"endpoint_socket": "/run/agent.sock"},
    ],
    ids=str,
)
def test_a_wrong_setting_is_told(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        IdentityConfig(**settings)  # type: ignore[arg-type]
