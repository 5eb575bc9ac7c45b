"""`diagnose`: each kind of identity that no handshake would accept, and its cause."""

import time

import pytest

from grpcmesh.call import Workload
from grpcmesh.identity import Cause, Diagnosis, Expected, Material, Role, diagnose
from grpcmesh.identity.material import MAX_CERTIFICATES, MAX_SIZE
from tests.identity_cases import CASES, ROOT, Case, over
from tests.pki import CLIENT, DAY, NOW, Authority, Pair, malformed_uri, spiffe_id

PING = Workload("cluster.local", "default", "ping")


def of(made: Material | Pair, expected: Expected = Expected(), now: float | None = None) -> Diagnosis:  # noqa: B008
    return diagnose(over(made) if isinstance(made, Pair) else made, expected, now or time.time())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_kind_has_its_cause_in_one_line(case: Case) -> None:
    found = of(case.files)
    assert [p.cause for p in found.problems[:1]] == ([case.cause] if case.cause else []), found.problems
    for problem in found.problems:
        assert "\n" not in str(problem)
        assert len(str(problem)) < 600
        assert b"PRIVATE" not in str(problem).encode()
        assert problem.file in ("tls.crt", "tls.key", "ca.crt")


def test_all_problems_are_found_at_once() -> None:
    bad = Authority("foreign").issue(begins=-2 * DAY, ends=-DAY, usages=[], dns=[], ca=True)
    causes = {p.cause for p in of(bad).problems}
    assert causes == {Cause.EXPIRED, Cause.CA_CERTIFICATE, Cause.DNS_NAME, Cause.UNKNOWN_ISSUER}


def test_time_makes_an_identity_good_and_bad_again() -> None:
    files = over(ROOT.issue(begins=DAY, ends=2 * DAY))
    begins = (NOW + DAY).timestamp()
    early = of(files)
    assert [p.until for p in early.problems] == [begins]
    assert not of(files, now=begins).problems
    assert [p.cause for p in of(files, now=begins + DAY.total_seconds()).problems] == [Cause.EXPIRED]


def test_the_ca_ends_the_identity_too() -> None:
    root = Authority("short", ends=DAY / 2)
    files = over(root.issue(ends=DAY), root)
    assert not of(files).problems
    assert [p.cause for p in of(files, now=(NOW + DAY / 2).timestamp()).problems] == [Cause.ISSUER_EXPIRED]


@pytest.mark.parametrize(
    "caller",
    [
        Workload("elsewhere", "default", "ping"),
        Workload("cluster.local", "other", "ping"),
        Workload("cluster.local", "default", "order"),
    ],
)
def test_the_certificate_of_another_workload_is_not_ours(caller: Workload) -> None:
    found = of(ROOT.issue(uris=[str(caller)]), Expected(workload=PING)).problems
    assert [p.cause for p in found] == [Cause.WRONG_WORKLOAD]
    assert str(caller) in found[0].text
    assert str(PING) in found[0].text


@pytest.mark.parametrize(
    ("names", "good"),
    [
        (["ping.default.svc.cluster.local"], True),
        (["PING.default.svc.cluster.local"], True),
        (["*.default.svc.cluster.local"], True),
        (["ping", "ping.default.svc"], False),
        (["*.svc.cluster.local"], False),
        (["p*.default.svc.cluster.local"], False),
        (["*"], False),
        (["order.default.svc.cluster.local"], False),
    ],
)
def test_a_server_carries_the_name_by_which_it_is_called(names: list[str], good: bool) -> None:
    found = of(ROOT.issue(dns=names), Expected(dns_name="ping.default.svc.cluster.local")).problems
    assert [p.cause for p in found] == ([] if good else [Cause.DNS_NAME])


def test_a_process_that_only_calls_needs_neither_a_dns_name_nor_the_server_usage() -> None:
    expected = Expected(roles=frozenset({Role.CLIENT}), dns_name="ping")
    assert not of(ROOT.issue(dns=[], usages=[CLIENT]), expected).problems
    assert of(ROOT.issue(dns=[], usages=[CLIENT])).problems


@pytest.mark.parametrize(
    "uri",
    [
        spiffe_id("ping") + "/",
        spiffe_id("ping") + "?x=1",
        spiffe_id("ping") + "#x",
        spiffe_id("p%69ng"),
        spiffe_id("ping").replace("spiffe", "SPIFFE"),
        spiffe_id("ping").replace("cluster", "CLUSTER"),
        spiffe_id("ping", trust_domain="user@cluster.local"),
        spiffe_id("ping", trust_domain="cluster.local:443"),
        spiffe_id(".."),
        spiffe_id("ping") + "\0",
        spiffe_id("ping") + "\n",
        "spiffe://cluster.local/" + "a" * 10_000,
    ],
)
def test_a_uri_that_is_no_spiffe_id_is_refused_and_shown_bounded(uri: str) -> None:
    found = of(ROOT.issue(uris=[], names=[malformed_uri(uri)])).problems
    assert [p.cause for p in found] == [Cause.SPIFFE_ID]
    assert str(found[0]).isprintable()
    assert len(str(found[0])) < 300


@pytest.mark.parametrize("file", ["cert_chain", "private_key", "ca"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 1000, b"-----BEGIN CERTIFICATE-----", b"x" * (MAX_SIZE + 1)]
)
def test_bytes_that_are_nothing_are_a_problem_and_no_exception(file: str, content: bytes) -> None:
    good = over(ROOT.issue())
    files = Material(**{**vars(good), file: content})
    assert [p.cause for p in of(files).problems] == [
        Cause.UNREADABLE if len(content) > MAX_SIZE else Cause.MALFORMED
    ]


def test_a_bundle_is_bounded() -> None:
    good = over(ROOT.issue())
    files = Material(
        good.cert_chain, good.private_key, b"-----BEGIN CERTIFICATE-----\n" * (MAX_CERTIFICATES + 1)
    )
    assert [p.cause for p in of(files).problems] == [Cause.UNREADABLE]


def test_the_ca_that_is_valid_comes_first_whatever_the_order_in_the_file() -> None:
    old = Authority("kept", begins=-5 * DAY, ends=-DAY)
    new = Authority("kept", key=old.key)
    for bundle in ((old, new), (new, old)):
        found = of(over(new.issue(), *bundle))
        assert not found.problems
        assert found.parsed is not None
        assert found.parsed.bundle[0] == new.certificate
