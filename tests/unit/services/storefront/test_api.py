from typing import Any

import httpx
import pytest

from tests.unit.services.storefront.fakes import BOB, FakeShop

BEARER = {"authorization": f"Bearer {BOB}"}
ORDER: dict[str, Any] = {
    "items": [{"product_id": 2, "quantity": 1}],
    "shipping_address": {"street": "1 Main", "city": "Springfield", "zip_code": "1", "country": "US"},
}


@pytest.fixture
async def client(shop: FakeShop) -> Any:
    async with shop.client() as client:
        yield client


async def test_products_are_listed_by_category_and_page(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/products?category=home&page=2&page_size=10")).json()
    assert len(answer["products"]) == 10
    assert {p["category"] for p in answer["products"]} == {"home"}


async def test_a_listing_goes_on_with_its_token_to_the_end(client: httpx.AsyncClient) -> None:
    seen, token = list[int](), ""
    while True:
        answer = (await client.get("/api/products", params={"page_size": 10, "page_token": token})).json()
        seen += [product["id"] for product in answer["products"]]
        if not (token := answer["next_page_token"]):
            break
        assert len(answer["products"]) == 10
    assert seen == sorted(set(seen))
    assert len(seen) > 20


async def test_a_page_has_a_number_or_a_token(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/products?page=2&page_token=after-10")
    assert (answer.status_code, list(answer.json()["error"]["fields"])) == (400, ["page"])


@pytest.mark.parametrize("field", ["page", "page_size"])
@pytest.mark.parametrize("text", ["", "-1", "abc", "1e3", "1.5", "9" * 5000, "٣", " 1"])
async def test_a_page_that_is_no_number_is_refused(client: httpx.AsyncClient, field: str, text: str) -> None:
    answer = await client.get("/api/products", params={field: text})
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == [field]


async def test_page_0_is_the_first_and_a_page_too_large_is_cut(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/products?page=0&page_size=1000")).json()
    assert (answer["page"], answer["page_size"]) == (1, 100)


async def test_a_product_is_found_or_not(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/products/1")).json()["price_cents"] == 129_900
    missing = await client.get("/api/products/99")
    assert (missing.status_code, missing.json()["error"]["problem"]) == (404, "not-found")


async def test_a_category_that_is_not_there_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/products?category=toys")
    assert answer.status_code == 400
    assert "category" in answer.json()["error"]["fields"]


async def test_an_order_is_made_once_per_key_and_can_be_read(
    shop: FakeShop, client: httpx.AsyncClient
) -> None:
    headers = {**BEARER, "idempotency-key": "abc"}
    first = await client.post("/api/orders", json=ORDER, headers=headers)
    second = await client.post("/api/orders", json=ORDER, headers=headers)
    assert first.status_code == 201
    assert first.json() == second.json()
    assert len(shop.orders.orders) == 1
    assert (await client.get(first.headers["location"], headers=BEARER)).json() == first.json()
    assert (await client.get("/api/orders", headers=BEARER)).json()["orders"] == [first.json()]


async def test_a_total_that_was_not_shown_is_refused_with_the_new_one(
    shop: FakeShop, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/api/orders", json=ORDER | {"expected_total_cents": 1}, headers=BEARER)
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"]) == (409, "PRICE_CHANGED")
    assert error["facts"]["total_cents"] == "24900"
    answer = await client.post("/api/orders", json=ORDER | {"expected_total_cents": 24_900}, headers=BEARER)
    assert (answer.status_code, answer.json()["refunded_cents"]) == (201, 0)


async def test_a_cookie_does_not_order(client: httpx.AsyncClient) -> None:
    client.cookies["session"] = BOB
    for headers in ({}, {"authorization": "Basic x"}, {"authorization": "Bearer nonsense"}):
        assert (await client.post("/api/orders", json=ORDER, headers=headers)).status_code == 401
        assert (await client.get("/api/orders", headers=headers)).status_code == 401


async def test_the_edge_sets_no_cookies(client: httpx.AsyncClient) -> None:
    assert "set-cookie" not in (await client.get("/api/products")).headers


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"items": None}, "items"),
        ({"items": [1]}, "items[0]"),
        ({"items": [{"product_id": 1}]}, "items[0]"),
        ({"items": [{"product_id": True, "quantity": 1}]}, "items[0]"),
        ({"items": [{"product_id": 2**31, "quantity": 1}]}, "items[0]"),
        ({"items": [{"product_id": 1.5, "quantity": 1}]}, "items[0]"),
        *(
            ({"items": [{"product_id": 1, "quantity": quantity}]}, "items[0]")
            for quantity in ("1", " 1 ", "abc", 1.5, 1e3, True, None, 2**31, 10**30, [1])
        ),
        ({"shipping_address": []}, "shipping_address"),
        ({"shipping_address": {"city": 7}}, "shipping_address.city"),
        ({"card": {"number": 4242}}, "card.number"),
        ({"card": "4242"}, "card"),
        *(({"expected_total_cents": wrong}, "expected_total_cents") for wrong in ("1", 1.5, -1, True, 2**31)),
    ],
)
async def test_each_wrong_field_is_named(
    client: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    answer = await client.post("/api/orders", json=ORDER | change, headers=BEARER)
    assert answer.status_code == 400
    assert list(answer.json()["error"]["fields"]) == [field]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 20_000])
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, content: bytes) -> None:
    headers = {**BEARER, "content-type": "application/json"}
    assert (await client.post("/api/orders", content=content, headers=headers)).status_code == 400


async def test_a_form_cannot_pose_as_json(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/orders", data={"a": "b"}, headers=BEARER)).status_code == 400


async def test_unknown_paths_and_methods_answer_in_json(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/nothing")).json()["error"]["problem"] == "http"
    assert (await client.delete("/api/orders")).status_code == 405


async def test_the_process_says_that_it_lives(client: httpx.AsyncClient) -> None:
    response = await client.get("/healthz")
    assert (response.status_code, response.text) == (200, "ok\n")
    assert "set-cookie" not in response.headers
