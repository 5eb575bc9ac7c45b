from dataclasses import dataclass

import pytest
from ecommerce import product_pb2 as pb

from grpcmesh.errors import InvalidArgument, MeshError, NotFound, PermissionDenied, Unauthenticated
from services.kit.actor import Actor
from services.kit.paging import Listing
from services.product.catalogue import Catalogue
from services.product.domain import Category
from tests.unit.services.product.memory import Shelf, product

ADMIN = Actor(1, frozenset({"user", "admin"}))
BOB = Actor(2, frozenset({"user"}))


@dataclass(frozen=True)
class Said:
    name: str = "Lamp"
    description: str = "Bright"
    price: float = 19.99
    stock: int = 5
    category: int = Category.HOME
    tags: tuple[str, ...] = ("desk",)


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue(Shelf({1: product(1), 2: product(2)}))


async def test_an_admin_creates_changes_and_deletes_a_product(catalogue: Catalogue) -> None:
    made = await catalogue.create(ADMIN, Said())
    assert (made.price, made.category, made.tags) == (1999, Category.HOME, ("desk",))
    changed = await catalogue.update(ADMIN, made.id, Said(name="Lantern"))
    assert (await catalogue.get(made.id)).name == changed.name == "Lantern"
    await catalogue.delete(ADMIN, made.id)
    with pytest.raises(NotFound):
        await catalogue.get(made.id)


@pytest.mark.parametrize(("actor", "error"), [(BOB, PermissionDenied), (Actor(), Unauthenticated)])
async def test_nobody_else_may(catalogue: Catalogue, actor: Actor, error: type[MeshError]) -> None:
    with pytest.raises(error):
        await catalogue.create(actor, Said())
    with pytest.raises(error):
        await catalogue.update(actor, 1, Said())
    with pytest.raises(error):
        await catalogue.delete(actor, 1)


async def test_what_is_not_there_cannot_be_changed_or_deleted(catalogue: Catalogue) -> None:
    with pytest.raises(NotFound):
        await catalogue.update(ADMIN, 99, Said())
    with pytest.raises(NotFound):
        await catalogue.delete(ADMIN, 99)


@pytest.mark.parametrize(
    ("said", "fields"),
    [
        (Said(name=" "), ["name"]),
        (Said(name="n" * 201), ["name"]),
        (Said(name="a\0b", description="\0"), ["name", "description"]),
        (Said(description="d" * 10_001), ["description"]),
        (Said(price=-1), ["price"]),
        (Said(price=float("nan"), stock=-1), ["price", "stock"]),
        (Said(price=float("inf")), ["price"]),
        (Said(price=0.001), ["price"]),
        (Said(price=1e9), ["price"]),
        (Said(category=6), ["category"]),
        (Said(category=-1), ["category"]),
        (Said(tags=("a", "")), ["tags[1]"]),
        (Said(tags=("t" * 51,)), ["tags[0]"]),
        (Said(tags=tuple(map(str, range(21)))), ["tags"]),
    ],
)
async def test_each_wrong_field_is_named(catalogue: Catalogue, said: Said, fields: list[str]) -> None:
    for attempt in (catalogue.create(ADMIN, said), catalogue.update(ADMIN, 1, said)):
        with pytest.raises(InvalidArgument) as caught:
            await attempt
        assert [v.field for v in caught.value.violations] == fields


async def test_a_category_may_be_left_open_and_tags_said_twice_count_once(catalogue: Catalogue) -> None:
    made = await catalogue.create(ADMIN, Said(category=0, tags=("a", " b ", "a")))
    assert (made.category, made.tags) == (0, ("a", "b"))


async def test_a_search_with_crossed_bounds_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(InvalidArgument) as caught:
        catalogue.search("", 0, 20.0, 10.0)
    assert [v.field for v in caught.value.violations] == ["min_price", "max_price"]


async def test_a_search_without_an_upper_bound_has_none(catalogue: Catalogue) -> None:
    assert [p.id async for p in catalogue.search("", 0, 20.0, 0)] == [1, 2]


@pytest.mark.parametrize("product_id", [0, -1])
async def test_an_id_is_positive(catalogue: Catalogue, product_id: int) -> None:
    with pytest.raises(InvalidArgument):
        await catalogue.get(product_id)
    with pytest.raises(InvalidArgument):
        await catalogue.delete(ADMIN, product_id)


async def test_many_products_are_made_together_in_their_order(catalogue: Catalogue) -> None:
    made = await catalogue.create_all(ADMIN, [Said(name=name) for name in ("c", "a", "b")])
    assert [(p.id, p.name) for p in made] == [(3, "c"), (4, "a"), (5, "b")]
    assert await catalogue.create_all(ADMIN, []) == []


async def test_of_many_products_each_wrong_one_is_named_and_none_is_made(catalogue: Catalogue) -> None:
    batch = [Said(), Said(name=" ", price=-1), Said(tags=("",))]
    with pytest.raises(InvalidArgument) as caught:
        await catalogue.create_all(ADMIN, batch)
    fields = [v.field for v in caught.value.violations]
    assert fields == ["requests[1].name", "requests[1].price", "requests[2].tags[0]"]
    assert len((await catalogue.page(Listing("test"), pb.ListProductsRequest(), 0)).items) == 2
    with pytest.raises(PermissionDenied):
        await catalogue.create_all(BOB, [Said()])
