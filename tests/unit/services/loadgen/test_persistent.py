"""A buyer who asks again until there is an answer."""

import asyncio
from typing import Any

import grpc
import pytest
from ecommerce import order_pb2, product_pb2, user_pb2
from grpc.aio import AioRpcError, Metadata

from grpcmesh.errors import FailedPrecondition
from grpcmesh.status import to_wire
from grpcmesh.testing.clock import VirtualClock
from services.loadgen.persistent import MAX_CHANGES, PATIENCE, Asked, PersistentBuyer
from services.loadgen.shop import Shop
from tests.unit.services.loadgen.fakes import FakeChannels, failure


class Orders:
    """Answers one after another; the last one for good."""

    def __init__(self, *answers: Any, **options: Any) -> None:
        self._answers = list(answers)
        self.clock = VirtualClock()
        self.price = 2.5
        answers = {
            "user/Login": self._login,
            "order/CreateOrder": self._create,
            "product/GetProduct": self._look,
        }
        self.channels = FakeChannels(answers)
        shop = Shop(self.channels, buyers=("bob",))
        self._buyer = PersistentBuyer(shop, shop.buyers[0], clock=self.clock, sleep=self._sleep, **options)

    def asked(self) -> Asked:
        return asyncio.run(self._buyer.order("key", [(1, 2)]))

    def keys(self) -> list[str]:
        return [request.idempotency_key for request in self.channels.made("order/CreateOrder")]

    def _login(self, *_: Any) -> Any:
        return user_pb2.LoginResponse(access_token="a", expires_in=900, user=user_pb2.User(id=2))

    def totals(self) -> list[float]:
        return [request.expected_total for request in self.channels.made("order/CreateOrder")]

    def _look(self, *_: Any) -> Any:
        return product_pb2.GetProductResponse(product=product_pb2.Product(id=1, price=self.price))

    def _create(self, *_: Any) -> Any:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)


def answer(status: int) -> Any:
    return order_pb2.CreateOrderResponse(order=order_pb2.Order(id=7, status=status))  # type: ignore[arg-type]


CONFIRMED, PENDING = answer(order_pb2.ORDER_STATUS_CONFIRMED), answer(order_pb2.ORDER_STATUS_PENDING)
UNAVAILABLE = failure(grpc.StatusCode.UNAVAILABLE)


def test_an_unclear_answer_is_asked_about_again_under_the_same_key() -> None:
    orders = Orders(UNAVAILABLE, failure(grpc.StatusCode.DEADLINE_EXCEEDED), PENDING, CONFIRMED)
    asked = orders.asked()
    assert asked.accepted
    assert (asked.order_id, asked.attempts) == (7, 4)
    assert orders.keys() == ["key"] * 4


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND]
)
def test_a_refusal_is_an_answer(code: grpc.StatusCode) -> None:
    orders = Orders(failure(code), CONFIRMED)
    asked = orders.asked()
    assert not asked.accepted
    assert asked.answer.startswith(code.name)
    assert len(orders.keys()) == 1


def test_patience_has_an_end() -> None:
    orders = Orders(UNAVAILABLE)
    assert not orders.asked().accepted
    assert orders.clock() == pytest.approx(1000.0 + PATIENCE, abs=0.5)


def test_without_patience_it_asks_once() -> None:
    orders = Orders(PENDING, patience=0.0)
    assert orders.asked().answer == "PENDING"
    assert orders.keys() == ["key"]


def test_a_client_that_knows_no_keys_asks_for_another_order_each_time() -> None:
    orders = Orders(UNAVAILABLE, CONFIRMED, by_key=False)
    assert orders.asked().accepted
    assert orders.keys() == ["key-1", "key-2"]


def price_changed(total_cents: int) -> Any:
    code, text, trailing = to_wire(
        FailedPrecondition("dearer", "PRICE_CHANGED", total_cents=str(total_cents))
    )
    return AioRpcError(code, Metadata(), Metadata(*trailing), details=text)


def test_who_looks_says_what_was_shown_and_agrees_to_a_new_total_under_another_key() -> None:
    orders = Orders(UNAVAILABLE, price_changed(560), UNAVAILABLE, CONFIRMED, looks=True)
    asked = orders.asked()
    assert asked.accepted
    assert orders.keys() == ["key", "key", "key+1", "key+1"]
    assert orders.totals() == [5.0, 5.0, 5.6, 5.6]
    assert (asked.shown, asked.changed, asked.keys) == (560, 1, ["key", "key+1"])


def test_a_total_that_never_stands_still_is_given_up() -> None:
    asked = Orders(price_changed(560), looks=True).asked()
    assert (asked.accepted, asked.changed) == (False, MAX_CHANGES)


def test_who_does_not_look_says_nothing_of_a_total() -> None:
    orders = Orders(CONFIRMED)
    orders.asked()
    (request,) = orders.channels.made("order/CreateOrder")
    assert not request.HasField("expected_total")
