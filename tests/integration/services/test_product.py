from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from ecommerce import product_pb2 as pb
from ecommerce.chat_pb2 import ChatMessage
from ecommerce.product_pb2_grpc import ProductServiceStub, add_ProductServiceServicer_to_server
from google.protobuf.field_mask_pb2 import FieldMask

from services.kit.db import Database
from services.product import servicer
from services.product.assistant import Assistant
from services.product.catalogue import Catalogue
from services.product.servicer import ProductServicer
from services.product.stock import SqlStock
from services.product.storage import SqlProducts
from services.product.warehouse import Warehouse
from tests.databases import Databases, Maker

from .shopkit import (
    ADMIN,
    BOB,
    NOBODY,
    ORDER,
    Metadata,
    answers_whatever_it_is_asked,
    refused,
    requests,
    serving,
)

Code = grpc.StatusCode


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases("product")


@pytest.fixture
async def product(databases: Databases) -> AsyncIterator[Any]:
    async with Database.open(databases.url("product"), "product") as db:
        products = SqlProducts(db)
        made = ProductServicer(Catalogue(products), Warehouse(SqlStock(db)), Assistant(products))
        async with serving(add_ProductServiceServicer_to_server, made) as channel:
            yield ProductServiceStub(channel)


def _create(**kwargs: Any) -> pb.CreateProductRequest:
    values = {"name": "Lamp", "price": 19.99, "stock": 5, "category": pb.PRODUCT_CATEGORY_HOME}
    return pb.CreateProductRequest(**{**values, **kwargs})


def _update(**kwargs: Any) -> pb.UpdateProductRequest:
    return pb.UpdateProductRequest(**{"id": 1, "name": "Lamp", "price": 19.99, "stock": 5, **kwargs})


def _reserve(key: str, *items: tuple[int, int]) -> pb.ReserveStockRequest:
    return pb.ReserveStockRequest(key=key, items=[pb.StockItem(product_id=p, quantity=q) for p, q in items])


async def _names(call: Any) -> list[str]:
    return [p.name async for p in call]


async def test_browsing_needs_no_token(product: Any) -> None:
    one = (await product.GetProduct(pb.GetProductRequest(id=1), metadata=NOBODY)).product
    assert (one.id, one.price, one.category) == (1, 1299.00, pb.PRODUCT_CATEGORY_ELECTRONICS)
    assert one.created_at.seconds > 0
    listed = [p async for p in product.ListProducts(pb.ListProductsRequest(page_size=1), metadata=NOBODY)]
    assert listed == [one]


async def test_several_products_are_asked_for_in_one_call(product: Any) -> None:
    asked = pb.GetProductsRequest(ids=[7, 999, 2, 7, 1000])
    answer = await product.GetProducts(asked, metadata=NOBODY)
    one = (await product.GetProduct(pb.GetProductRequest(id=7), metadata=NOBODY)).product
    assert [p.id for p in answer.products] == [7, 2]
    assert list(answer.missing_ids) == [999, 1000]
    assert answer.products[0] == one
    assert await product.GetProducts(pb.GetProductsRequest(), metadata=NOBODY) == pb.GetProductsResponse()


async def test_pages_count_from_one_and_sizes_are_capped(product: Any) -> None:
    async def page(**kwargs: int) -> list[str]:
        return await _names(product.ListProducts(pb.ListProductsRequest(**kwargs), metadata=NOBODY))

    assert await page() == await page(page=1) == await page(page=1, page_size=20)
    assert len(await page()) == 20
    assert await page(page=2, page_size=5) == (await page(page_size=10))[5:]
    assert len(await page(page_size=2**31 - 1)) == 55
    assert await page(page=2**31 - 1, page_size=100) == []
    assert len(await page(category=pb.PRODUCT_CATEGORY_BOOKS)) == 11


async def test_a_search_goes_by_words_in_any_case_and_by_price(product: Any) -> None:
    async def search(**kwargs: Any) -> list[str]:
        return await _names(product.SearchProducts(pb.SearchProductsRequest(**kwargs), metadata=NOBODY))

    assert await search(query="ÜBER-parka") == ["Über-Parka 'Polar Night'"]
    assert await search(query="coffee", max_price=50) == ["Pour-Over Coffee Set"]
    assert await search(query="coffee", category=pb.PRODUCT_CATEGORY_BOOKS) == []
    assert await search(min_price=649.00) == ["Aurora 14 Laptop", "Carbon Sculling Oars"]
    assert await search(query="%") == ["Tactus Mechanical Keyboard"]
    assert len(await search()) == 55


async def test_an_admin_manages_products(product: Any) -> None:
    made = (await product.CreateProduct(_create(tags=["a"]), metadata=ADMIN)).product
    assert (made.name, made.price, made.stock, list(made.tags)) == ("Lamp", 19.99, 5, ["a"])
    update = _update(id=made.id, name="Lantern", price=0.07)
    changed = (await product.UpdateProduct(update, metadata=ADMIN)).product
    assert (changed.name, changed.price, changed.category, list(changed.tags)) == ("Lantern", 0.07, 0, [])
    got = (await product.GetProduct(pb.GetProductRequest(id=made.id))).product
    assert got == changed
    await product.DeleteProduct(pb.DeleteProductRequest(id=made.id), metadata=ADMIN)
    gone = await refused(product.GetProduct(pb.GetProductRequest(id=made.id)))
    assert (gone.code, gone.resource) == (Code.NOT_FOUND, ("product", str(made.id)))


@pytest.mark.parametrize(("who", "code"), [(BOB, Code.PERMISSION_DENIED), (NOBODY, Code.UNAUTHENTICATED)])
async def test_nobody_else_does(product: Any, who: Metadata, code: grpc.StatusCode) -> None:
    for call in (
        product.CreateProduct(_create(), metadata=who),
        product.UpdateProduct(_update(), metadata=who),
        product.DeleteProduct(pb.DeleteProductRequest(id=1), metadata=who),
        product.CreateProducts(iter([_create()]), metadata=who),
    ):
        assert (await refused(call)).code == code


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("GetProduct", pb.GetProductRequest(), {"id"}),
        ("GetProduct", pb.GetProductRequest(id=-5), {"id"}),
        ("GetProducts", pb.GetProductsRequest(ids=[1, 0, -1]), {"ids[1]", "ids[2]"}),
        ("GetProducts", pb.GetProductsRequest(ids=[1] * 101), {"ids"}),
        ("ListProducts", pb.ListProductsRequest(page=-1, page_size=-1), {"page", "page_size"}),
        ("ListProducts", pb.ListProductsRequest(category=9), {"category"}),  # type: ignore[arg-type]
        ("CreateProduct", _create(name="", price=-1, stock=-1), {"name", "price", "stock"}),
        ("CreateProduct", _create(price=float("nan"), category=-3), {"price", "category"}),
        ("CreateProduct", _create(price=float("inf"), description="\0"), {"price", "description"}),
        ("CreateProduct", _create(price=0.001, tags=["", "ok"]), {"price", "tags[0]"}),
        ("UpdateProduct", _update(id=0, name=" ", price=1e300), {"id", "name", "price"}),
        ("DeleteProduct", pb.DeleteProductRequest(), {"id"}),
        (
            "SearchProducts",
            pb.SearchProductsRequest(min_price=-1, max_price=0.001),
            {"min_price", "max_price"},
        ),
        ("SearchProducts", pb.SearchProductsRequest(min_price=2, max_price=1), {"min_price", "max_price"}),
        ("SearchProducts", pb.SearchProductsRequest(query="q" * 201), {"query"}),
        ("ReserveStock", pb.ReserveStockRequest(), {"key", "items"}),
        ("ReserveStock", _reserve("k", (0, 1), (1, 0)), {"items[0].product_id", "items[1].quantity"}),
        ("ReleaseStock", pb.ReleaseStockRequest(), {"key"}),
    ],
)
async def test_each_wrong_field_is_named(product: Any, method: str, request_: Any, fields: set[str]) -> None:
    refusal = await refused(getattr(product, method)(request_, metadata=ADMIN))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, fields)


async def test_a_request_that_is_wrong_all_over_is_still_answered_in_detail(product: Any) -> None:
    refusal = await refused(product.ReserveStock(_reserve("", *[(0, 0)] * 100), metadata=ORDER))
    assert refusal.code == Code.INVALID_ARGUMENT
    assert {"key", "items[0].product_id", "..."} <= refusal.fields
    assert "169 more are wrong" in refusal.message


async def test_what_is_not_there_is_named(product: Any) -> None:
    for call in (
        product.GetProduct(pb.GetProductRequest(id=999)),
        product.UpdateProduct(_update(id=999), metadata=ADMIN),
        product.DeleteProduct(pb.DeleteProductRequest(id=999), metadata=ADMIN),
        product.ReserveStock(_reserve("k", (1, 1), (999, 1)), metadata=ORDER),
    ):
        refusal = await refused(call)
        assert (refusal.code, refusal.resource) == (Code.NOT_FOUND, ("product", "999"))


async def test_stock_is_reserved_and_released_once_per_key(product: Any) -> None:
    async def stock() -> int:
        response = await product.GetProduct(pb.GetProductRequest(id=11))
        return int(response.product.stock)

    first = await product.ReserveStock(_reserve("k", (11, 10)), metadata=ORDER)
    assert [(p.id, p.name, p.price) for p in first.products] == [(11, "Hearth Smart Thermostat", 159.00)]
    assert await product.ReserveStock(_reserve("k", (11, 10)), metadata=ORDER) == first
    assert await stock() == 4
    out = await refused(product.ReserveStock(_reserve("other", (11, 5)), metadata=ORDER))
    assert (out.code, out.reason) == (Code.FAILED_PRECONDITION, "OUT_OF_STOCK")
    reused = await refused(product.ReserveStock(_reserve("k", (11, 9)), metadata=ORDER))
    assert (reused.code, reused.reason) == (Code.FAILED_PRECONDITION, "KEY_REUSED")
    release = pb.ReleaseStockRequest(key="k")
    released = [(await product.ReleaseStock(release, metadata=ORDER)).released for _ in range(2)]
    assert (released, await stock()) == ([True, False], 14)
    spent = await refused(product.ReserveStock(_reserve("k", (11, 10)), metadata=ORDER))
    assert (spent.code, spent.reason) == (Code.FAILED_PRECONDITION, "KEY_RELEASED")


async def test_many_products_are_made_at_once(product: Any) -> None:
    wanted = [_create(name=f"Lamp {i}", price=i / 100) for i in range(1000)]
    made = await product.CreateProducts(iter(wanted), metadata=ADMIN)
    assert (made.count, len(made.products), made.total_price) == (1000, 1000, 4995.0)
    assert [p.name for p in made.products] == [p.name for p in wanted]
    last = (await product.GetProduct(pb.GetProductRequest(id=made.products[-1].id))).product
    assert last == made.products[-1]


async def test_of_many_products_all_are_made_or_none(product: Any) -> None:
    wrong = [_create(name="Zeppelin"), _create(name="", price=-1), _create(tags=[""])]
    refusal = await refused(product.CreateProducts(iter(wrong), metadata=ADMIN))
    fields = {"requests[1].name", "requests[1].price", "requests[2].tags[0]"}
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, fields)
    many = await refused(product.CreateProducts(iter([_create(name="Zeppelin")] * 1001), metadata=ADMIN))
    large = [_create(name="Zeppelin", description="d" * 10_000)] * 220
    much = await refused(product.CreateProducts(iter(large), metadata=ADMIN))
    for refusal in (many, much):
        assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"requests"})
    assert await _names(product.SearchProducts(pb.SearchProductsRequest(query="Zeppelin"))) == []
    nothing = await product.CreateProducts(iter(()), metadata=ADMIN)
    assert (nothing.count, nothing.total_price) == (0, 0)


async def test_the_shop_assistant_answers_each_question_in_turn(product: Any) -> None:
    chat = product.ChatWithProducts(metadata=NOBODY)

    async def ask(text: str) -> Any:
        await chat.write(ChatMessage(room_id="r1", user_id=2, text=text))
        return await chat.read()

    answer = await ask("Which is the cheapest book?")
    assert (answer.room_id, answer.user_name) == ("r1", "Shop assistant")
    assert answer.text.startswith("The cheapest is Tides and Timetables at $18.00.")
    first = (await product.GetProduct(pb.GetProductRequest(id=answer.product_ids[0]))).product
    assert (first.name, first.category) == ("Tides and Timetables", pb.PRODUCT_CATEGORY_BOOKS)
    assert answer.sent_at.seconds > 0
    assert "Über-Parka" in (await ask("an ÜBER parka?")).text
    nothing = await ask("saddles for unicorns")
    assert nothing.text.startswith("I am sorry")
    assert list(nothing.product_ids) == []
    await chat.done_writing()
    assert await chat.read() is grpc.aio.EOF


@pytest.mark.parametrize("wrong", [{"text": " "}, {"text": "x" * 1001}, {"text": "a\0"}])
async def test_a_question_that_is_none_ends_the_conversation(product: Any, wrong: Any) -> None:
    chat = product.ChatWithProducts(metadata=NOBODY)
    await chat.write(ChatMessage(text="books"))
    assert (await chat.read()).product_ids
    await chat.write(ChatMessage(**wrong))
    refusal = await refused(chat.read())
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"text"})


async def test_who_says_nothing_for_long_is_not_waited_for(
    product: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servicer, "CHAT_PATIENCE", 0.05)
    chat = product.ChatWithProducts(metadata=NOBODY)
    assert (await refused(chat)).code == Code.DEADLINE_EXCEEDED


_METHODS: dict[str, Any] = {
    "GetProduct": pb.GetProductRequest,
    "GetProducts": pb.GetProductsRequest,
    "ListProducts": pb.ListProductsRequest,
    "CreateProduct": pb.CreateProductRequest,
    "UpdateProduct": pb.UpdateProductRequest,
    "DeleteProduct": pb.DeleteProductRequest,
    "SearchProducts": pb.SearchProductsRequest,
    "ReserveStock": pb.ReserveStockRequest,
    "ReleaseStock": pb.ReleaseStockRequest,
    "ShipStock": pb.ShipStockRequest,
    "AdjustStock": pb.AdjustStockRequest,
    "ListStockMovements": pb.ListStockMovementsRequest,
    "CreateProducts": pb.CreateProductRequest,
    "ChatWithProducts": ChatMessage,
}


@pytest.mark.parametrize("method", _METHODS)
async def test_no_request_whatever_is_answered_unknown_or_internal(
    product: Any, databases: Databases, method: str
) -> None:
    drawn = requests(product, method, _METHODS)
    callers = [ADMIN, BOB, NOBODY, ORDER]
    await answers_whatever_it_is_asked(getattr(product, method), drawn, callers, databases)


async def test_an_edit_names_its_fields_and_the_version_that_it_is_based_on(product: Any) -> None:
    read = (await product.GetProduct(pb.GetProductRequest(id=1), metadata=NOBODY)).product
    await product.ReserveStock(_reserve("order-1", (1, 7)), metadata=ORDER)
    mask = FieldMask(paths=["description"])
    edit = pb.UpdateProductRequest(id=1, description="new", update_mask=mask, version=read.version)
    for _ in "ab":  # a repetition is no conflict
        edited = (await product.UpdateProduct(edit, metadata=ADMIN)).product
        assert (edited.description, edited.name, edited.price) == ("new", read.name, read.price)
        assert (edited.stock, edited.version) == (read.stock - 7, read.version + 1)
    edit.description = "newer"
    assert (await refused(product.UpdateProduct(edit, metadata=ADMIN))).code is Code.ABORTED
    wrong = pb.UpdateProductRequest(id=1, update_mask=FieldMask(paths=["id"]))
    assert (await refused(product.UpdateProduct(wrong, metadata=ADMIN))).code is Code.INVALID_ARGUMENT


async def test_an_old_clients_edit_leaves_what_orders_took_meanwhile(product: Any) -> None:
    read = (await product.GetProduct(pb.GetProductRequest(id=1), metadata=NOBODY)).product
    await product.ReserveStock(_reserve("order-1", (1, 7)), metadata=ORDER)
    echo = pb.UpdateProductRequest(
        id=1,
        name=read.name,
        description="new",
        price=read.price,
        stock=read.stock,
        category=read.category,
        tags=read.tags,
    )
    edited = (await product.UpdateProduct(echo, metadata=ADMIN)).product
    assert (edited.description, edited.stock) == ("new", read.stock - 7)


async def test_the_ledger_of_a_product_is_listed_newest_first(product: Any) -> None:
    read = (await product.GetProduct(pb.GetProductRequest(id=1), metadata=NOBODY)).product
    await product.ReserveStock(_reserve("order-1", (1, 7)), metadata=ORDER)
    assert (await product.ShipStock(pb.ShipStockRequest(key="order-1"), metadata=ORDER)).shipped
    receive = pb.AdjustStockRequest(
        product_id=1, change=5, kind=pb.STOCK_MOVEMENT_KIND_RECEIVE, note="delivery", idempotency_key="k"
    )
    for _ in "ab":
        adjusted = (await product.AdjustStock(receive, metadata=ADMIN)).product
        assert adjusted.stock == read.stock - 2
    request = pb.ListStockMovementsRequest(product_id=1, page_size=3)
    listed = [m async for m in product.ListStockMovements(request, metadata=ADMIN)]
    kinds = [pb.StockMovementKind.Name(m.kind).rpartition("_")[2] for m in listed]
    assert kinds == ["RECEIVE", "SHIP", "RESERVE"]
    assert [(m.stock_change, m.held_change) for m in listed] == [(5, 0), (0, -7), (-7, 7)]
    assert (listed[0].stock, listed[0].note, listed[0].user_id) == (read.stock - 2, "delivery", 1)
    assert (listed[1].key, listed[1].at.seconds > 0) == ("order-1", True)
    seed = pb.AdjustStockRequest(product_id=1, change=5, kind=pb.STOCK_MOVEMENT_KIND_SEED)
    assert (await refused(product.AdjustStock(seed, metadata=ADMIN))).code is Code.INVALID_ARGUMENT
    assert (await refused(product.AdjustStock(receive, metadata=BOB))).code is Code.PERMISSION_DENIED
