"""The use cases of products: what may be done, by whom, with which values."""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, Protocol

from grpcmesh.errors import NotFound
from services.kit.actor import Actor
from services.kit.intake import entry
from services.kit.paging import Listing, Paged, Slice
from services.kit.validation import Check, checking
from services.product.domain import Category, Criteria, Draft, Edit, Product, ProductStore

MAX_NAME = 200
MAX_DESCRIPTION = 10_000
MAX_TAGS = 20
MAX_TAG = 50
MAX_QUERY = 200
#: The most products requested at once.
MAX_IDS = 100
#: The most products created at once.
MAX_BATCH = 1000
#: The highest price, in cents.
MAX_PRICE = 100_000_000
_CATEGORIES = tuple(Category)
#: The fields that an edit may change.
_FIELDS = frozenset({"name", "description", "price", "stock", "category", "tags"})


class Values(Protocol):
    """The unchecked values of a product. `price` and `category` are as on the wire."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def price(self) -> float: ...
    @property
    def stock(self) -> int: ...
    @property
    def category(self) -> int: ...
    @property
    def tags(self) -> Sequence[str]: ...


class Catalogue:
    """The use cases of products. Prices arrive as they are on the wire.

    Every method raises InvalidArgument for malformed arguments, with all violations at once. Methods that
    change something raise Unauthenticated or PermissionDenied unless the actor is an admin.
    """

    def __init__(self, store: ProductStore) -> None:
        self._store = store

    async def get(self, product_id: int) -> Product:
        """Return a product. Raises NotFound."""
        with checking() as check:
            check.id("id", product_id)
        return _found(await self._store.get(product_id), product_id)

    async def get_all(self, product_ids: Sequence[int]) -> Sequence[Product]:
        """Return those products that exist, each once, in the order of `product_ids`."""
        with checking() as check:
            check.that(len(product_ids) <= MAX_IDS, "ids", f"must be at most {MAX_IDS}")
            for place, product_id in enumerate(product_ids[:MAX_IDS]):
                check.id(f"ids[{place}]", product_id)
        found = {product.id: product for product in await self._store.get_all(product_ids)}
        return [found[product_id] for product_id in dict.fromkeys(product_ids) if product_id in found]

    async def page(self, listing: Listing, wanted: Paged, category: int) -> Slice[Product]:
        """Return a page of products, ordered by id. `category` 0 means all."""
        with checking() as check:
            page, kind = listing.page(check, wanted), _category(check, category)
        return await self._store.page(kind, page)

    def search(self, query: str, category: int, min_price: float, max_price: float) -> AsyncIterator[Product]:
        """Yield all matches, ordered by id. An empty query, and 0 for any other argument, means no bound."""
        with checking() as check:
            criteria = _criteria(check, query, category, min_price, max_price)
        return self._store.search(criteria)

    async def create(self, actor: Actor, values: Values) -> Product:
        """Create a product and return it."""
        actor.require_admin()
        with checking() as check:
            draft = _draft(check, values)
        return (await self._store.add([draft]))[0]

    async def create_all(self, actor: Actor, batch: Sequence[Values]) -> Sequence[Product]:
        """Create all products or none, and return them. Violations are named `requests[INDEX].FIELD`."""
        actor.require_admin()
        with checking() as check:
            drafts = [_entry(check, index, values) for index, values in enumerate(batch)]
        return await self._store.add(drafts) if drafts else []

    async def update(
        self, actor: Actor, product_id: int, values: Values, mask: Sequence[str] = (), version: int = 0
    ) -> Product:
        """Replace the fields that `mask` names, or every field if it names none or is `*`.

        Args:
            version: The version of the product that the caller has read; 0 if it does not say.

        Raises:
            NotFound: there is no such product.
            Aborted: VERSION_CONFLICT.
        """
        actor.require_admin()
        with checking() as check:
            check.id("id", product_id)
            check.that(version >= 0, "version", "must not be negative")
            changes = _checked(check, values, _mask(check, mask))
        edit = Edit(product_id, **changes, stock_named=bool(mask), version=version, user_id=actor.user_id)
        return _found(await self._store.edit(edit), product_id)

    async def delete(self, actor: Actor, product_id: int) -> None:
        """Delete a product. Raises NotFound."""
        actor.require_admin()
        with checking() as check:
            check.id("id", product_id)
        if not await self._store.remove(product_id, actor.user_id):
            raise NotFound("product", str(product_id))


def _found(product: Product | None, product_id: int) -> Product:
    if product is None:
        raise NotFound("product", str(product_id))
    return product


def _checked(check: Check, values: Values, names: Collection[str]) -> dict[str, Any]:
    """Return the values of these fields, and record violations in `check`. Other fields are ignored."""
    checks: dict[str, Callable[[], Any]] = {
        "name": lambda: check.text("name", values.name, least=1, most=MAX_NAME),
        "description": lambda: check.text("description", values.description, most=MAX_DESCRIPTION),
        "price": lambda: check.cents("price", values.price, most=MAX_PRICE),
        "stock": lambda: check.integer("stock", values.stock),
        "category": lambda: _category(check, values.category),
        "tags": lambda: _tags(check, values.tags),
    }
    return {name: value() for name, value in checks.items() if name in names}


def _draft(check: Check, values: Values) -> Draft:
    return Draft(**_checked(check, values, _FIELDS))


def _mask(check: Check, paths: Sequence[str]) -> frozenset[str]:
    """Return the names of the fields to change."""
    if not paths or list(paths) == ["*"]:
        return _FIELDS
    for path in paths:
        check.that(path in _FIELDS, "update_mask", f"{path[:50]!r} is no field that can be changed")
    return frozenset(paths)


def _entry(check: Check, index: int, values: Values) -> Draft:
    with entry(check, index) as inner:
        return _draft(inner, values)


def _criteria(check: Check, query: str, category: int, min_price: float, max_price: float) -> Criteria:
    criteria = Criteria(
        check.text("query", query, most=MAX_QUERY),
        _category(check, category),
        check.cents("min_price", min_price),
        check.cents("max_price", max_price),
    )
    if criteria.max_price and criteria.min_price > criteria.max_price:
        check.fail("min_price", "must not be above max_price")
        check.fail("max_price", "must not be below min_price")
    return criteria


def _category(check: Check, value: int) -> Category:
    check.choice("category", value, _CATEGORIES, optional=True)
    return Category(value) if value in _CATEGORIES else Category.UNSPECIFIED


def _tags(check: Check, tags: Sequence[str]) -> tuple[str, ...]:
    check.that(len(tags) <= MAX_TAGS, "tags", f"must be at most {MAX_TAGS}")
    texts = (check.text(f"tags[{i}]", t, least=1, most=MAX_TAG) for i, t in enumerate(tags[:MAX_TAGS]))
    return tuple(dict.fromkeys(texts))
