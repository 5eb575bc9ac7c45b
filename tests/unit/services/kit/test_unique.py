import pytest

from grpcmesh.errors import Unavailable
from services.kit.unique import ATTEMPTS, insert_or_find


class Rows:
    """A key whose row others insert and remove, as the script says: what each look finds."""

    def __init__(self, *taken: bool) -> None:
        self.taken = list(taken)
        self.inserts = 0

    async def insert(self) -> str | None:
        self.inserts += 1
        return None if self.taken.pop(0) else "mine"

    async def find(self) -> str | None:
        return "theirs" if self.taken.pop(0) else None


async def test_a_free_key_is_taken_without_a_look() -> None:
    rows = Rows(False)
    assert await insert_or_find(rows.insert, rows.find) == ("mine", True)


async def test_a_taken_key_gives_its_row() -> None:
    rows = Rows(True, True)
    assert await insert_or_find(rows.insert, rows.find) == ("theirs", False)


async def test_a_key_that_is_set_free_in_between_is_taken_after_all() -> None:
    rows = Rows(True, False, False)
    assert await insert_or_find(rows.insert, rows.find) == ("mine", True)


async def test_a_key_that_never_stands_still_is_given_up() -> None:
    rows = Rows(*[True, False] * ATTEMPTS)
    with pytest.raises(Unavailable):
        await insert_or_find(rows.insert, rows.find)
    assert rows.inserts == ATTEMPTS
