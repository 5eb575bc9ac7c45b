"""What the feed says, in plain words, about the difference of two snapshots."""

from dataclasses import replace

import pytest

from meshmart.console import events
from meshmart.console.events import MOST, diff
from meshmart.console.model import (
    Certificate,
    EdgeView,
    Kind,
    Outbox,
    ReplicaView,
    ServiceView,
    Snapshot,
    State,
    Traffic,
)

ONE = ReplicaView(1, "product-1", "127.0.1.1:50051", State.READY, incarnation="11")
TWO = replace(ONE, id=2, name="product-2", incarnation="12")
CALLS = EdgeView("order", "product", Traffic(10.0, 0.0))


def mesh(*replicas: ReplicaView, edge: EdgeView = CALLS, outbox: Outbox | None = None) -> Snapshot:
    return Snapshot(0.0, (ServiceView("product", replicas, outbox=outbox),), (edge,))


def said(before: Snapshot, after: Snapshot) -> list[tuple[str, str]]:
    return [(event.kind.value, event.text) for event in diff(before, after)]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (TWO, []),
        (
            replace(TWO, state=State.BROKEN, note="NOT_SERVING"),
            [("bad", "product-2 left rotation: NOT_SERVING")],
        ),
        (
            replace(TWO, state=State.DRAINING),
            [("info", "product-2 drains: it finishes its calls and takes no new ones")],
        ),
        (
            replace(TWO, state=State.EJECTED, ejected_by=1, note="ejected by 1 of 4 callers"),
            [("bad", "product-2 is ejected by 1 of 4 callers")],
        ),
        (
            replace(TWO, state=State.STARTING, incarnation="99", restarts=1),
            [
                ("bad", "product-2 ended and was started again (1 restart)"),
                ("info", "product-2 starts"),
            ],
        ),
        (
            replace(TWO, state=State.BROKEN, incarnation="", restarts=2, note="x"),
            [("bad", "product-2 ended and was started again (2 restarts)")],
        ),
        (replace(TWO, faults=1), [("bad", "product-2 has an injected fault")]),
        (replace(TWO, shed=2.5), [("bad", "product-2 is overloaded and refuses 2.5 calls/s")]),
    ],
)
def test_what_happens_to_a_replica(after: ReplicaView, told: list[tuple[str, str]]) -> None:
    assert said(mesh(ONE, TWO), mesh(ONE, after)) == told


def test_a_replica_comes_back() -> None:
    ejected = replace(TWO, state=State.EJECTED, ejected_by=2, note="ejected by 2 of 4 callers")
    fewer = replace(ejected, ejected_by=1, note="ejected by 1 of 4 callers")
    assert said(mesh(ejected), mesh(fewer)) == [("info", "product-2 is ejected by 1 of 4 callers")]
    assert said(mesh(fewer), mesh(TWO)) == [("good", "product-2 is back in rotation with every caller")]
    starting = replace(TWO, state=State.STARTING)
    assert said(mesh(starting), mesh(TWO)) == [("good", "product-2 is ready and takes calls")]


def test_replicas_come_and_go() -> None:
    starting = replace(TWO, state=State.STARTING)
    assert said(mesh(ONE), mesh(ONE, starting)) == [("info", "product-2 was added and starts")]
    assert said(mesh(ONE, TWO), mesh(ONE)) == [("info", "product-2 was removed")]


def test_a_certificate_is_renewed_once_for_a_service() -> None:
    old, new = Certificate("a" * 40, 0, 1), Certificate("b" * 40, 0, 2)
    first, second = replace(ONE, certificate=old), replace(TWO, certificate=old)
    half = mesh(replace(first, certificate=new), second)
    told = [("info", "product renewed its certificate: serial bbbbbbbb…")]
    assert said(mesh(first, second), half) == told
    assert said(half, mesh(replace(first, certificate=new), replace(second, certificate=new))) == []
    assert said(mesh(ONE, TWO), mesh(first, second)) == []  # they were read for the first time
    own = replace(TWO, certificate=new)  # as on Kubernetes, where each pod has one of its own
    assert said(mesh(first, TWO), mesh(first, own)) == []


@pytest.mark.parametrize(
    ("edge", "told"),
    [
        (
            replace(CALLS, traffic=Traffic(10.0, 1.2), failing=True),
            ("bad", "12.0% of the calls from order to product fail"),
        ),
        (
            replace(CALLS, budget_exhausted=1.0),
            ("bad", "order has used up its retry budget for product: no more retries"),
        ),
        (replace(CALLS, breaker_refused=1.0), ("bad", "order's circuit breaker refuses calls to product")),
    ],
)
def test_what_happens_to_calls(edge: EdgeView, told: tuple[str, str]) -> None:
    assert said(mesh(ONE), mesh(ONE, edge=edge)) == [told]
    assert [kind for kind, _ in said(mesh(ONE, edge=edge), mesh(ONE))] in ([], ["good"])


def test_calls_that_have_ceased_did_not_recover() -> None:
    failing = replace(CALLS, traffic=Traffic(10.0, 1.2), failing=True)
    silent = replace(CALLS, traffic=Traffic())
    assert said(mesh(ONE, edge=failing), mesh(ONE, edge=silent)) == []
    assert said(mesh(ONE, edge=failing), mesh(ONE)) == [
        ("good", "The calls from order to product succeed again")
    ]


def test_an_outbox_grows_catches_up_and_gives_up() -> None:
    some, many = Outbox(5, 1.0, 0), Outbox(150, 60.0, 0)
    assert said(mesh(outbox=some), mesh(outbox=many)) == [("bad", "product's outbox grows: 150 events wait")]
    assert said(mesh(outbox=many), mesh(outbox=some)) == [("good", "product's outbox has caught up")]
    dead = Outbox(5, 1.0, 2)
    assert said(mesh(outbox=some), mesh(outbox=dead)) == [("bad", "product's outbox gave up 2 events")]


def test_a_cluster_that_does_not_answer_is_said_once() -> None:
    lost = replace(mesh(ONE), problem="no status within 2 s")
    assert [kind for kind, _ in said(mesh(ONE), lost)] == ["bad"]
    assert said(lost, lost) == []
    assert [kind for kind, _ in said(lost, mesh(ONE))] == ["good"]


def test_the_first_snapshot_says_nothing() -> None:
    assert diff(Snapshot(), mesh(ONE, TWO)) == []


def test_a_burst_is_bounded() -> None:
    many = [replace(ONE, id=i, name=f"product-{i}") for i in range(1000)]
    told = diff(mesh(*many), mesh(*(replace(r, state=State.DRAINING) for r in many)))
    assert len(told) == MOST
    assert told[-1].text == f"{1000 - MOST + 1} more things happened at the same time"
    assert {event.kind for event in told} == {Kind.INFO}
    assert events.MOST == MOST
