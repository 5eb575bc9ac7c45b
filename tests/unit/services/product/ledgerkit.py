"""A product service without its wire, for tests of its ledger."""

from typing import Any

import sqlalchemy as sa

from services.kit.actor import Actor
from services.kit.db import Database
from services.kit.paging import Page
from services.product.catalogue import Catalogue
from services.product.domain import Category, Draft, Product, StockItem
from services.product.stock import SqlStock
from services.product.storage import SqlProducts
from services.product.tables import movement
from services.product.warehouse import Warehouse

ADMIN, BOB = Actor(1, frozenset({"user", "admin"})), Actor(2, frozenset({"user"}))


class Shop:
    """The product service without its wire; time stands still unless a test moves it."""

    def __init__(self, db: Database) -> None:
        self.db, self.now = db, 1_767_225_600_000_000
        self.products = SqlProducts(db, lambda: self.now)
        self.stock = SqlStock(db, lambda: self.now)
        self.catalogue, self.warehouse = Catalogue(self.products), Warehouse(self.stock)

    async def add(self, stock: int = 50_000) -> Product:
        (made,) = await self.products.add([Draft("Lamp", "bright", 1999, stock, Category.HOME, ("a",))])
        return made

    async def get(self, product_id: int) -> Product:
        found = await self.products.get(product_id)
        assert found is not None
        return found

    async def reserve(self, key: str, product_id: int, quantity: int) -> None:
        await self.warehouse.reserve(key, [StockItem(product_id, quantity)])

    async def kinds(self, product_id: int) -> list[tuple[str, int, int]]:
        """Kind and changes of a product's movements, oldest first."""
        entries = (await self.stock.movements(product_id, Page(100))).items
        return [(e.kind.value, e.stock_change, e.held_change) for e in reversed(entries)]

    async def sums(self) -> dict[int, tuple[int, int]]:
        """By product: the ledger's sums of stock and of what is held."""
        changes = sa.func.sum(movement.c.stock_change), sa.func.sum(movement.c.held_change)
        statement = sa.select(movement.c.product_id, *changes).group_by(movement.c.product_id)
        rows = await self.db.read(lambda c: c.execute(statement).all())
        return {row[0]: (int(row[1]), int(row[2])) for row in rows}


class Sent:
    """What a client sends: all fields, as it has read them, but for those that it changes."""

    def __init__(self, read: Product, **changed: Any) -> None:
        self.name, self.description, self.stock = read.name, read.description, read.stock
        self.price, self.category, self.tags = read.price / 100, read.category, read.tags
        for name, value in changed.items():
            setattr(self, name, value)
