"""The doctor's rules: facts to findings, and the tables of remedies."""

import dataclasses

import pytest

from grpcmesh.auth import KeyCause
from grpcmesh.commands.doctor.facts import (
    Answers,
    Endpoint,
    Facts,
    Handshake,
    KeyProblem,
    NameLookup,
    OwnCertificate,
    Process,
    Target,
)  # fmt: skip
from grpcmesh.commands.doctor.findings import CERTIFICATE_REMEDIES, KEY_REMEDIES, REMEDIES, Cause
from grpcmesh.commands.doctor.rules import EXPIRING, SKEW, findings
from grpcmesh.identity import Cause as CertificateCause
from grpcmesh.identity import Diagnosis, Problem

DAY = 86400.0


def target(*endpoints: Endpoint, left_out: int = 0) -> Target:
    return Target("product", NameLookup("product.shop.", "found"), endpoints, left_out)


def causes(facts: Facts) -> list[str]:
    return [finding.cause for finding in findings(facts)]


def test_every_cause_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Cause)
    assert set(CERTIFICATE_REMEDIES) == set(CertificateCause)


def test_endpoints_with_the_same_problem_share_a_line() -> None:
    closed = [Endpoint(f"10.0.0.{n}:1", "refuses connections") for n in range(5)]
    (found,) = findings(Facts(0, targets=(target(*closed, Endpoint("10.0.0.9:1")),)))
    assert found.problem == "10.0.0.0:1, 10.0.0.1:1, 10.0.0.2:1 and 2 more refuses connections"


@pytest.mark.parametrize(
    ("left", "expected"), [(EXPIRING * DAY, []), (EXPIRING * DAY - 1, ["certificate_expiring"])]
)
def test_a_certificate_is_about_to_expire_when_a_fifth_of_its_life_is_left(
    left: float, expected: list[str]
) -> None:
    assert causes(Facts(DAY - left, OwnCertificate("certs", begins=0, ends=DAY))) == expected


def test_a_bad_certificate_is_not_also_blamed_on_the_peers_bundle() -> None:
    refusing = target(Endpoint("10.0.0.1:1", handshake=Handshake(refused=True)))
    good, bad = OwnCertificate("certs"), Diagnosis((Problem(CertificateCause.EXPIRED, "tls.crt", "expired"),))
    assert causes(Facts(0, good, (refusing,))) == ["issuer_not_in_peers_bundle"]
    assert causes(Facts(0, OwnCertificate("certs", diagnosis=bad), (refusing,))) == ["certificate_expired"]


@pytest.mark.parametrize("ahead", [SKEW, -SKEW, None])
def test_clocks_that_are_close_enough(ahead: float | None) -> None:
    assert causes(Facts(0, targets=(target(Endpoint("10.0.0.1:1", answers=Answers(ahead=ahead))),))) == []


def test_a_clock_that_is_behind() -> None:
    (found,) = findings(Facts(0, targets=(target(Endpoint("10.0.0.1:1", answers=Answers(ahead=-7200))),)))
    assert found.problem == "the clock of 10.0.0.1:1 is 2 hours behind ours"


def connected(address: str, *peers: str) -> Endpoint:
    return Endpoint(address, answers=Answers(peers=frozenset(peers)))


def test_clients_are_pinned_only_if_every_endpoint_is_known() -> None:
    both = connected("a:1", "x", "y"), connected("b:1", "y")
    assert causes(Facts(0, targets=(target(*both),))) == ["pinned_clients"]
    assert causes(Facts(0, targets=(target(*both, left_out=1),))) == []
    assert causes(Facts(0, targets=(target(*both, Endpoint("c:1", answers=Answers())),))) == []
    assert causes(Facts(0, targets=(target(connected("a:1", "x")),))) == []


def test_a_method_is_unknown_unless_another_target_serves_it() -> None:
    lacks = target(Endpoint("a:1", answers=Answers(unknown=("a.B/C",))))
    other = dataclasses.replace(target(Endpoint("b:1", answers=Answers())), target="order")
    asked = {"product": ("a.B/C",), "order": ("a.B/C",)}
    assert causes(Facts(0, targets=(lacks,))) == ["method_unknown"]
    assert causes(Facts(0, targets=(lacks, other), asked=asked)) == []
    assert causes(Facts(0, targets=(lacks, other), asked={"product": ("a.B/C",)})) == ["method_unknown"]


def test_a_method_that_may_be_that_of_a_target_without_answers_is_not_called_unknown() -> None:
    lacks = target(Endpoint("a:1", answers=Answers(unknown=("a.B/C",))))
    asked = {"product": ("a.B/C",), "order": ("a.B/C",)}
    closed = dataclasses.replace(target(Endpoint("b:1", "refuses connections")), target="order")
    refused = dataclasses.replace(target(Endpoint("b:1", answers=Answers("UNAVAILABLE"))), target="order")
    assert causes(Facts(0, targets=(lacks, closed), asked=asked)) == ["port_closed"]
    assert causes(Facts(0, targets=(lacks, refused), asked=asked)) == ["call_refused"]
    assert causes(Facts(0, targets=(lacks,), unfinished=("order",), asked=asked)) == ["too_slow"]


def test_keys_matter_to_a_server_that_verifies_tokens() -> None:
    assert causes(Facts(0, process=Process(keys=None, users=True))) == []
    assert causes(Facts(0, process=Process(keys=0))) == []
    assert causes(Facts(0, process=Process(keys=1, failed_fetches=9, users=True))) == []
    assert causes(Facts(0, process=Process(keys=0, users=True))) == ["tokens_unverifiable"]


def test_a_provider_whose_keys_cannot_be_fetched_is_told_once_with_the_cause() -> None:
    problem = KeyProblem(
        "corp", KeyCause.UNTRUSTED, "https://id.example: the TLS certificate is not accepted"
    )
    (found,) = findings(Facts(0, process=Process(keys=0, failed_fetches=3, users=True), keys=(problem,)))
    assert found.cause == "tokens_unverifiable"
    assert "issuer corp cannot be verified: https://id.example: the TLS certificate" in found.problem
    assert "MESH_AUTH_CA_FILE" in found.remedy


def test_each_cause_of_a_provider_has_a_remedy() -> None:
    assert KEY_REMEDIES.keys() == {cause for cause in KeyCause if cause != KeyCause.FAILED}


def test_what_other_processes_say_is_printable_and_bounded() -> None:
    hostile = Answers(error="\x1b[2J\r\n" + "x" * 10_000)
    (found,) = findings(Facts(0, targets=(target(Endpoint("10.0.0.1:1", answers=hostile)),)))
    assert str(found).isprintable()
    assert len(found.problem) < 600
