"""The people that a new shop starts with. Their passwords, `NAME-password`, are no secret: it is a demo."""

import asyncio
import time

from sqlalchemy import Connection, func, select, text

from services.kit.db import Database
from services.user.domain import NewUser
from services.user.passwords import ScryptPasswords
from services.user.storage import row_of
from services.user.tables import account

#: Name and roles; ids count from 1 in this order.
_PEOPLE = (("alice", ("user", "admin")), ("bob", ("user",)), ("charlie", ("user", "moderator")))


async def seed(db: Database) -> None:
    """Registers them where nobody is registered yet. Safe when two do it at once."""
    registered = select(func.count()).select_from(account)
    if await db.read(lambda c: c.scalar(registered)):
        return
    # Hashing takes long, a transaction must not.
    rows = await _rows()

    def register(c: Connection) -> None:
        if c.scalar(registered):
            return
        c.execute(db.insert(account).on_conflict_do_nothing(), rows)
        if not db.is_sqlite:
            c.execute(text("SELECT setval('account_id_seq', (SELECT max(id) FROM account))"))

    await db.write(register)


async def _rows() -> list[dict[str, object]]:
    passwords = ScryptPasswords()
    hashes = await asyncio.gather(*(passwords.hash(f"{name}-password") for name, _ in _PEOPLE))
    return [
        {"id": i, **row_of(NewUser(name, f"{name}@example.com", 0, roles, hashed), int(time.time()))}
        for i, ((name, roles), hashed) in enumerate(zip(_PEOPLE, hashes, strict=True), 1)
    ]
