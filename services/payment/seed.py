"""The seed of the payment service, which is empty."""

from services.kit.db import Database


async def seed(db: Database) -> None:
    """Do nothing: a new shop has no payments."""
