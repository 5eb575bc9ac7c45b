"""The catalogue of a new shop."""

import tomllib
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from services.kit.db import Database
from services.product.domain import Category, Draft
from services.product.ledger import Kind, Movement
from services.product.stock import enter, now_us
from services.product.storage import row_of
from services.product.tables import product

_FILE = Path(__file__).with_name("catalogue.toml")


async def seed(db: Database) -> None:
    """Fill the catalogue if it is empty. Safe when two processes do it at once."""
    now = now_us()
    rows = [{"id": i, "created_at": now, **row_of(draft, now)} for i, draft in enumerate(drafts(), 1)]

    def fill(c: Connection) -> None:
        if c.scalar(select(func.count()).select_from(product)):
            return
        fill_one = db.insert(product).on_conflict_do_nothing().returning(product.c.id, product.c.stock)
        seeded = c.execute(fill_one, rows).all()
        enter(c, [Movement(row.id, Kind.SEED, row.stock, 0, row.stock) for row in seeded if row.stock], now)
        if not db.is_sqlite:
            c.execute(text("SELECT setval('product_id_seq', (SELECT max(id) FROM product))"))

    await db.write(fill)


def drafts() -> list[Draft]:
    """Return the products in `catalogue.toml`, in the order of their ids."""
    entries = tomllib.loads(_FILE.read_text(encoding="utf-8"))["product"]
    return [
        Draft(e["name"], e["description"], e["price"], e["stock"], Category[e["category"]], tuple(e["tags"]))
        for e in entries
    ]
