"""The storefront's adapters over real MeshChannels with mutual TLS: the trail, the errors, the retries."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grpcmesh.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    MeshError,
    NotFound,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from services.storefront.calls import AGAIN
from services.storefront.cart_pages import priced
from services.storefront.domain import Address, Card, Category, Place, Problem, ShopError, Status
from services.storefront.trail import Trail, current_trail
from tests.integration.services.storefrontkit import Mesh


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    mesh = Mesh(tmp_path)
    try:
        await mesh.start()
        yield mesh
    finally:
        await mesh.stop()


@pytest.fixture
async def older_mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """Services of a release that had neither of these methods."""
    mesh = Mesh(tmp_path, ("GetProducts", "ExchangeToken", "Logout"))
    try:
        await mesh.start()
        yield mesh
    finally:
        await mesh.stop()


@pytest.fixture
def trail() -> Trail:
    return Trail()


async def test_a_page_learns_who_answered_each_call(mesh: Mesh, trail: Trail) -> None:
    await mesh.both_replicas()
    current_trail.set(trail)
    product = await mesh.shop.catalogue.product(5)
    assert (product.price_cents, product.category) == (1999, Category.BOOKS)
    for n in range(3):
        await mesh.shop.catalogue.product(n + 1)
    assert {s.replica for s in trail.steps} == {"product-1", "product-2"}
    assert {s.endpoint for s in trail.steps} == {f"127.0.0.1:{s.port}" for s in mesh.servers[:2]}
    first = trail.steps[0]
    assert (first.target, first.method, first.code, first.attempts) == ("product", "GetProduct", "OK", 1)
    assert first.milliseconds > 0
    assert set(mesh.products.callers) == {"spiffe://cluster.local/ns/default/sa/storefront"}


async def test_a_cart_is_asked_for_in_one_call(mesh: Mesh, trail: Trail) -> None:
    current_trail.set(trail)
    cart = await priced(mesh.shop.catalogue, [(1, 2), (100, 1), (3, 1)])
    assert [line.product.id if line.product else None for line in cart.lines] == [1, None, 3]
    assert [step.method for step in trail.steps] == ["GetProducts"]
    assert (await priced(mesh.shop.catalogue, [])).lines == ()
    assert len(trail.steps) == 1


async def test_a_cart_is_asked_for_one_by_one_where_a_replica_is_older(
    older_mesh: Mesh, trail: Trail
) -> None:
    current_trail.set(trail)
    older_mesh.script.append(NotFound("product", "one of them"))
    cart = await priced(older_mesh.shop.catalogue, [(n, 1) for n in range(1, 21)])
    assert sum(line.product is None for line in cart.lines) == 1
    assert next((s.method, s.code) for s in trail.steps) == ("GetProducts", "UNIMPLEMENTED")
    assert sorted(s.code for s in trail.steps[1:]) == ["NOT_FOUND", *["OK"] * 19]


async def test_a_cart_that_cannot_be_asked_for_one_by_one_either_fails_with_the_reason(
    older_mesh: Mesh,
) -> None:
    older_mesh.script += [ResourceExhausted("busy", 1.5)] * 40
    with pytest.raises(ShopError) as e:
        await priced(older_mesh.shop.catalogue, [(1, 1), (2, 1)])
    assert e.value.problem is Problem.BUSY


async def test_an_older_user_service_gets_the_visitors_own_token_sent_on(older_mesh: Mesh) -> None:
    await place(older_mesh)
    assert [m["authorization"] for m in older_mesh.orders.metadata] == ["Bearer TOKEN"]
    with pytest.raises(ShopError) as e:
        await older_mesh.shop.accounts.logout("REFRESH")
    assert e.value.problem is Problem.UNSUPPORTED


async def test_a_token_that_one_replica_refuses_is_exchanged_anew_and_tried_once_more(mesh: Mesh) -> None:
    mesh.script.append(Unauthenticated("wrong audience"))
    assert (await mesh.shop.orders.order("TOKEN", 7)).id == 7
    assert mesh.users.exchanges == 2
    assert {m["authorization"] for m in mesh.orders.metadata} == {"Bearer TOKEN-for-order"}


async def test_a_service_that_refuses_every_token_logs_nobody_out_and_never_gets_the_visitors_own(
    mesh: Mesh,
) -> None:
    mesh.script += [Unauthenticated("give me another")] * 20
    for _ in range(3):
        with pytest.raises(ShopError) as e:
            await mesh.shop.orders.order("TOKEN", 7)
        assert e.value.problem is Problem.UNSUPPORTED
    assert {m["authorization"] for m in mesh.orders.metadata} == {"Bearer TOKEN-for-order"}


async def test_a_token_that_the_user_service_refuses_is_the_end_of_the_session(mesh: Mesh) -> None:
    await mesh.shop.orders.order("TOKEN", 7)
    mesh.users.refuses = True
    mesh.script.append(Unauthenticated("revoked"))
    with pytest.raises(ShopError) as e:
        await mesh.shop.orders.order("TOKEN", 7)
    assert e.value.problem is Problem.LOGIN


async def test_a_listing_tells_the_token_of_its_next_page(mesh: Mesh) -> None:
    first = await mesh.shop.catalogue.page(Place(page=1), 20, None)
    second = await mesh.shop.catalogue.page(Place(page=2, token=first.next_token), 20, None)
    assert [p.id for p in (*first.items, *second.items)] == list(range(1, 41))
    assert (first.next_token, second.next_token) == ("21", "41")
    assert (await mesh.shop.catalogue.page(Place(token="41"), 20, None)).next_token == ""


async def test_a_retried_call_shows_its_attempts(mesh: Mesh, trail: Trail) -> None:
    current_trail.set(trail)
    mesh.script.append(Unavailable("not now"))
    await mesh.shop.catalogue.product(1)
    assert [(s.attempts, s.code) for s in trail.steps] == [(2, "OK")]


async def test_a_failed_call_stands_in_the_trail(mesh: Mesh, trail: Trail) -> None:
    current_trail.set(trail)
    mesh.script.append(NotFound("product", "5"))
    with pytest.raises(ShopError) as e:
        await mesh.shop.catalogue.product(5)
    assert e.value.problem is Problem.NOT_FOUND
    assert [(s.code, s.replica[:8]) for s in trail.steps] == [("NOT_FOUND", "product-")]


async def test_a_long_answer_is_cut_and_its_sender_still_known(mesh: Mesh, trail: Trail) -> None:
    current_trail.set(trail)
    async with asyncio.timeout(60):
        # Until both replicas have told their names: at first, one of them may still be connecting.
        while len({step.replica for step in trail.steps}) < 2:
            await mesh.shop.catalogue.product(1)
    found = await mesh.shop.catalogue.search("x", None, 0, 0, 10)
    assert [p.id for p in found] == list(range(1, 11))
    assert trail.steps[-1].code == "OK"
    assert trail.steps[-1].replica.startswith("product-")


@pytest.mark.parametrize(
    ("raised", "problem", "expected"),
    [
        (
            InvalidArgument([FieldViolation("shipping_address.city", "must not be empty")]),
            Problem.INVALID,
            {"fields": {"shipping_address.city": "must not be empty"}},
        ),
        (FailedPrecondition("sold out", "OUT_OF_STOCK"), Problem.RULE, {"reason": "OUT_OF_STOCK"}),
        (ResourceExhausted("busy", 1.5), Problem.BUSY, {"retry_after": 1.5}),
    ],
)
async def test_what_a_service_says_reaches_the_page(
    mesh: Mesh, raised: MeshError, problem: Problem, expected: dict[str, Any]
) -> None:
    mesh.script.append(raised)
    with pytest.raises(ShopError) as e:
        await place(mesh)
    assert e.value.problem is problem
    for name, value in expected.items():
        assert getattr(e.value, name) == value


async def place(mesh: Mesh, card: Card | None = None) -> Any:
    return await mesh.shop.orders.create("TOKEN", 2, [(1, 3)], Address(city="X"), card, "the-key")


async def test_an_order_is_tried_again_under_the_same_key(mesh: Mesh) -> None:
    mesh.script += [Unavailable("a"), Unavailable("b")]
    order = await place(mesh, Card("4242424242424242", "12/39", "123"))
    assert (order.id, order.total_cents, order.status, order.cursor) == (7, 1999, Status.CONFIRMED, 3)
    assert [r.idempotency_key for r in mesh.orders.requests] == ["the-key"] * 3
    assert {m["authorization"] for m in mesh.orders.metadata} == {"Bearer TOKEN-for-order"}
    assert mesh.orders.requests[0].payment.credit_card.number == "4242424242424242"


async def test_trying_an_order_again_has_an_end(mesh: Mesh) -> None:
    mesh.script += [Unavailable(str(n)) for n in range(9)]
    with pytest.raises(ShopError) as e:
        await place(mesh)
    assert e.value.problem is Problem.UNAVAILABLE
    assert len(mesh.orders.requests) == AGAIN


async def test_an_order_that_was_refused_is_not_tried_again(mesh: Mesh) -> None:
    mesh.script += [FailedPrecondition("declined", "PAYMENT_DECLINED")]
    with pytest.raises(ShopError):
        await place(mesh)
    assert len(mesh.orders.requests) == 1


async def test_without_a_card_no_payment_is_named(mesh: Mesh) -> None:
    await place(mesh)
    assert not mesh.orders.requests[0].HasField("payment")


async def test_updates_are_followed_until_the_replica_leaves(mesh: Mesh) -> None:
    seen: list[Any] = []

    async def follow() -> None:
        async with mesh.shop.orders.follow("TOKEN", 7, 3) as updates:
            async for update in updates:
                seen.append((update.cursor, update.status, updates.endpoint))  # noqa: PERF401 - it ends in an error

    with pytest.raises(ShopError) as e:
        await asyncio.wait_for(follow(), 10)
    assert e.value.problem is Problem.UNAVAILABLE
    assert seen == [(4, Status.SHIPPED, f"127.0.0.1:{mesh.servers[2].port}")]
    assert mesh.orders.followed[0] == 3


async def test_a_service_that_cannot_be_reached_is_unavailable_within_the_deadline(mesh: Mesh) -> None:
    for server in mesh.servers[:2]:
        await server.stop(0)
    with pytest.raises(ShopError) as e:
        await asyncio.wait_for(mesh.shop.catalogue.product(1), 10)
    assert e.value.problem in (Problem.UNAVAILABLE, Problem.TIMEOUT)


async def test_the_latest_news_of_a_user_are_read(mesh: Mesh) -> None:
    assert [n.title for n in await mesh.shop.notices.latest("token", 2, 3)] == [
        f"{n} for 2" for n in range(3)
    ]
