"""Figures begin with none."""

from services.kit.db import Database


async def seed(db: Database) -> None:
    """Nothing to seed."""
