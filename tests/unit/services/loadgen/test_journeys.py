"""What each journey calls, in order, over channels in memory."""

import asyncio
import random
from collections import Counter
from typing import Any

import grpc
import pytest
from ecommerce import order_pb2, product_pb2, user_pb2

from services.loadgen import journeys, steps
from services.loadgen.engine import Journey, Recorder
from services.loadgen.report import Report
from services.loadgen.shop import Shop
from tests.unit.services.loadgen.fakes import FakeChannels, failure

PRODUCTS = [product_pb2.Product(id=i, stock=100) for i in range(1, 9)]
RECEIVED = order_pb2.OrderUpdate(order_id=7, status=order_pb2.ORDER_STATUS_PENDING, cursor=2)
CONFIRMED = order_pb2.OrderUpdate(order_id=7, status=order_pb2.ORDER_STATUS_CONFIRMED, cursor=3)
UNAVAILABLE = failure(grpc.StatusCode.UNAVAILABLE)


def channels(**different: Any) -> FakeChannels:
    answers = {
        "user/Login": lambda *_: user_pb2.LoginResponse(
            access_token="a", expires_in=900, user=user_pb2.User(id=2)
        ),
        "product/ListProducts": lambda *_: PRODUCTS,
        "product/SearchProducts": lambda *_: PRODUCTS,
        "product/GetProduct": lambda request, _: product_pb2.GetProductResponse(
            product=product_pb2.Product(id=request.id, stock=100)
        ),
        "order/CreateOrder": lambda *_: order_pb2.CreateOrderResponse(order=order_pb2.Order(id=7)),
        "order/ListOrders": lambda *_: [order_pb2.Order(id=7)],
        "order/StreamOrderUpdates": lambda *_: [RECEIVED, CONFIRMED],
    }
    return FakeChannels(answers | {name.replace("_", "/"): answer for name, answer in different.items()})


def walked(journey: Journey) -> list[str]:
    """The calls of one walk, with their codes."""
    report = Report()
    asyncio.run(journey(Recorder(report, 0.0)))
    return [f"{s.method} {s.code}" for s in report.samples]


def test_browsing_opens_a_page_and_looks_at_some_of_its_products() -> None:
    calls = walked(journeys.browse(Shop(channels(), random.Random(1))))
    assert calls[0] == "ListProducts OK"
    assert 1 <= len(calls[1:]) <= 3
    assert set(calls[1:]) == {"GetProduct OK"}


@pytest.mark.parametrize("seed", range(20))
def test_a_buyer_searches_looks_orders_what_was_looked_at_and_waits_for_the_confirmation(seed: int) -> None:
    made = channels()
    calls = walked(journeys.buy(Shop(made, random.Random(seed))))
    looked = calls.count("GetProduct OK")
    assert calls == [
        "SearchProducts OK",
        *["GetProduct OK"] * looked,
        "Login OK",
        "CreateOrder OK",
        "StreamOrderUpdates OK",
    ]
    (order,) = made.made("order/CreateOrder")
    assert order.user_id == 2
    assert order.idempotency_key
    assert [i.product_id for i in order.items] == [r.id for r in made.made("product/GetProduct")]
    assert all(1 <= i.quantity <= 2 for i in order.items)


def test_every_order_has_a_key_of_its_own() -> None:
    made = channels()
    journey = journeys.buy(Shop(made))
    for _ in range(10):
        walked(journey)
    assert len({order.idempotency_key for order in made.made("order/CreateOrder")}) == 10


def test_a_stream_that_is_cut_is_resumed_with_its_cursor() -> None:
    answers = iter([[RECEIVED, UNAVAILABLE], [CONFIRMED]])
    made = channels(order_StreamOrderUpdates=lambda *_: next(answers))
    assert "StreamOrderUpdates OK" in walked(journeys.buy(Shop(made)))
    assert [r.after_cursor for r in made.made("order/StreamOrderUpdates")] == [1, 2]


def test_nothing_that_can_be_bought_is_no_order() -> None:
    sold_out = product_pb2.GetProductResponse(product=product_pb2.Product(id=1, stock=0))
    calls = walked(journeys.buy(Shop(channels(product_GetProduct=lambda *_: sold_out))))
    assert not any(call.startswith(("CreateOrder", "Login")) for call in calls)


def test_a_refused_order_is_recorded_and_not_followed() -> None:
    refused = failure(grpc.StatusCode.FAILED_PRECONDITION)
    calls = walked(journeys.buy(Shop(channels(order_CreateOrder=lambda *_: refused))))
    assert calls[-1] == "CreateOrder FAILED_PRECONDITION"


def test_a_stream_that_ends_without_the_confirmation_is_an_error() -> None:
    calls = walked(journeys.buy(Shop(channels(order_StreamOrderUpdates=lambda *_: [RECEIVED]))))
    assert calls[-1] == "StreamOrderUpdates OUT_OF_RANGE"


def test_following_opens_one_of_the_latest_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "STAY", 0.0)
    calls = walked(journeys.follow(Shop(channels())))
    assert calls == ["Login OK", "ListOrders OK", "StreamOrderUpdates OK"]


def test_a_mix_makes_each_journey_as_often_as_its_weight_says() -> None:
    walks: Counter[str] = Counter()

    def counting(name: str) -> Journey:
        async def journey(_: Recorder) -> None:
            walks[name] += 1

        return journey

    mixed = journeys.mix({n: counting(n) for n in "abc"}, {"a": 70, "b": 30}, random.Random(1))

    async def many() -> None:
        for _ in range(1000):
            await mixed(Recorder(Report(), 0.0))

    asyncio.run(many())
    assert walks["a"] == pytest.approx(700, abs=50)
    assert walks["a"] + walks["b"] == 1000


def test_the_default_mix_names_journeys_that_there_are() -> None:
    assert set(journeys.WEIGHTS) <= set(journeys.SCENARIOS)
