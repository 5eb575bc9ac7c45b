"""The scene of the balance fails where a balancer is even over all methods, and for none of them."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from ecommerce import product_pb2

from meshmart.tour import balance, scale_up
from meshmart.tour.check import Check
from meshmart.tour.stage import Stage
from services.loadgen.report import Report, Sample

REPLICAS = tuple(f"10.0.0.{i}:50051" for i in (1, 2, 3))


class Replica:
    def __init__(self, number: int) -> None:
        self.id, self.address, self.ready = number, REPLICAS[number - 1], True
        self.name = self.incarnation = f"product-{number}"


class Cluster:
    """Three replicas of product, always ready."""

    async def endpoints(self, service: str) -> list[Any]:
        return [Replica(i) for i in (1, 2, 3)]

    async def scale_for_now(self, service: str, replicas: int) -> None:
        pass

    async def dns_ttl(self) -> float:
        return 5.0


class Call:
    """A call that is answered at once."""

    def __init__(self, endpoint: str, responses: list[Any]) -> None:
        self.endpoint, self._responses = endpoint, responses

    def __await__(self) -> Any:
        yield from ()
        return self._responses[0]

    async def __aiter__(self) -> AsyncIterator[Any]:
        for response in self._responses:
            yield response


class Channel:
    """Sends each call to the replica whose turn it is.

    Args:
        turn: From the method to the key of its turns: the method itself, or one for all of them.
    """

    def __init__(self, turn: Callable[[str], str]) -> None:
        self._turn, self._turns = turn, Counter[str]()

    def _callable(self, path: str, *args: Any, **kwargs: Any) -> Any:
        product = product_pb2.Product(id=1)
        unary = path.endswith("/GetProduct")

        def call(request: Any, **kwargs: Any) -> Call:
            key = self._turn(path)
            self._turns[key] += 1
            response = product_pb2.GetProductResponse(product=product) if unary else product
            return Call(REPLICAS[self._turns[key] % 3], [response])

        return call

    unary_unary = unary_stream = stream_unary = stream_stream = _callable


async def play(monkeypatch: pytest.MonkeyPatch, turn: Callable[[str], str]) -> list[Check]:
    monkeypatch.setattr(balance, "WARM_UP", 30)
    monkeypatch.setattr(balance, "CALLS", 90)
    channel: Any = Channel(turn)
    cluster: Any = Cluster()
    audit: Any = None
    stage = Stage(cluster, lambda target: channel, lambda: 0, lambda text: None, audit)
    return await balance.play(stage)


async def test_a_lockstep_fails_the_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await play(monkeypatch, lambda method: "all")
    failed = {c.what for c in checks if not c.passed}
    methods = ("GetProduct", "ListProducts", "SearchProducts")
    assert failed == {f"largest share of {m} over smallest" for m in methods}
    assert f"{REPLICAS[0]}: 0 calls" in {line for c in checks for line in c.details}


async def test_a_turn_for_each_method_passes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await play(monkeypatch, lambda method: method)
    # The window of calls that is counted may begin and end between two turns.
    assert [c.what for c in checks if c.measured > 1.1 and c.bound == 1.05] == []
    assert {c.bound for c in checks if c.what.startswith("largest")} == {1.05}


def test_a_replica_that_never_answers_a_method_has_no_share_yet() -> None:
    def call(method: str, endpoint: str) -> Sample:
        return Sample("product", method, 0.0, 0.1, "OK", endpoint, 1)

    calls = [call("GetProduct", "new"), call("GetProduct", "old"), call("ListProducts", "old")]
    assert scale_up.share_of({"new"}, calls) == 0.0
    assert scale_up.share_of({"new"}, [*calls, call("ListProducts", "new")]) == 0.5


def test_a_method_that_one_of_two_replicas_never_answers_is_uneven_even_where_that_one_answers_nothing() -> (
    None
):
    from meshmart.tour.stage import even_methods

    report = Report([Sample("order", "CreateOrder", 0.0, 0.1, "OK", "a", 1)] * 40)
    (check,) = even_methods(report, "order", replicas=2, bound=1.5)
    assert not check.passed
