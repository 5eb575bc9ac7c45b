"""Pages: what a request may ask for, tokens, and that what comes and goes meanwhile shifts nothing."""

import base64
import struct
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from ecommerce import product_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from services.kit import keyset
from services.kit.db import Database
from services.kit.keyset import read_page
from services.kit.paging import MAX_SIZE, Listing, Page, Slice
from services.kit.validation import INT32_MAX, Check
from tests.databases import Maker

ALL = Listing("things")
table = sa.Table(
    "thing",
    sa.MetaData(),
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Integer, nullable=False),
)


def _asked(listing: Listing = ALL, **request: int | str) -> tuple[Page, list[tuple[str, str]]]:
    check = Check()
    page = listing.page(check, pb.ListProductsRequest(**request))  # type: ignore[arg-type]
    return page, [(v.field, v.description) for v in check.violations]


def test_page_zero_is_the_first_and_size_zero_the_default() -> None:
    assert _asked() == _asked(page=1, page_size=20) == (Page(20), [])
    assert _asked(page=3, page_size=10) == (Page(10, 20), [])


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_page_is_a_slice_that_a_database_takes_or_is_refused(page: int, size: int) -> None:
    found, wrong = _asked(page=page, page_size=size)
    assert bool(wrong) == (page < 0 or size < 0)
    assert 0 <= found.skip < 2**31
    assert 1 <= found.limit <= MAX_SIZE


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_token_says_where_its_page_begins(key: int) -> None:
    token = ALL.token(key)
    assert _asked(page_token=token, page_size=7) == (Page(7, after=key), [])
    assert "=" not in token


@pytest.mark.parametrize("other", [Listing("thing"), Listing("things", 1), Listing("things", "")])
def test_a_token_of_another_listing_or_filter_is_refused(other: Listing) -> None:
    _, wrong = _asked(page_token=other.token(5))
    assert wrong == [("page_token", "belongs to another listing, or to another filter")]


def test_a_token_of_another_version_says_so() -> None:
    old = base64.urlsafe_b64encode(struct.pack("!Bq", 0, 5)).decode()
    _, wrong = _asked(page_token=old)
    assert wrong == [("page_token", "is of another version of this service; begin with the first page again")]


def test_a_page_has_a_number_or_a_token() -> None:
    _, wrong = _asked(page_token=ALL.token(5), page=2)
    assert wrong == [("page", "must not be given together with page_token")]


@given(st.text(min_size=1) | st.binary(min_size=1).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_what_is_no_token_is_refused(text: str) -> None:
    _, wrong = _asked(page_token=text)
    assert [field for field, _ in wrong] == ["page_token"]


@given(st.integers(0, len(ALL.token(1)) - 1), st.characters(codec="ascii"))
def test_a_token_with_a_wrong_character_is_refused_or_says_another_place(at: int, wrong: str) -> None:
    token = ALL.token(1)
    changed = token[:at] + wrong + token[at + 1 :]
    page, violations = _asked(page_token=changed)
    assert violations or changed == token or page.after != 1


@pytest.fixture
async def db(new_databases: Maker) -> AsyncIterator[Database]:
    async with Database.open(new_databases("user").url("user"), "user") as db:
        await db.write(table.metadata.create_all)
        await _add(db, *range(0, 100, 2))
        yield db


async def _add(db: Database, *ids: int) -> None:
    await db.write(lambda c: c.execute(sa.insert(table), [{"id": i, "kind": i % 3} for i in ids]))


async def _ids(db: Database, page: Page, newest_first: bool = False) -> Slice[int]:
    found = await db.read(
        lambda c: read_page(c, sa.select(table), table.c.id, page, newest_first=newest_first)
    )
    return found.map(lambda row: int(row.id))


@pytest.mark.parametrize("newest_first", [False, True])
async def test_every_row_that_stays_is_listed_once_whatever_comes_and_goes(
    db: Database, newest_first: bool
) -> None:
    seen, page, added = list[int](), Page(7), 101
    while True:
        found = await _ids(db, page, newest_first)
        seen += found.items
        if found.last is None:
            break
        assert len(found.items) == 7
        # Before the place and after it, one more and one less.
        await _add(db, -added, added)
        await db.write(lambda c, last=found.last: c.execute(sa.delete(table).where(table.c.id == last)))  # type: ignore[misc]
        page, added = Page(7, after=found.last), added + 1
    stayed = [i for i in seen if 0 <= i < 100]
    assert stayed == sorted(range(0, 100, 2), reverse=newest_first)
    assert seen == sorted(set(seen), reverse=newest_first)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("stride", [1, 7, 10_000])
async def test_a_page_by_its_number_passes_over_rows_in_bounded_steps(
    db: Database, newest_first: bool, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "STRIDE", stride)
    ids = sorted(range(0, 100, 2), reverse=newest_first)
    for skip in (0, 1, 13, 48, 49):
        assert list((await _ids(db, Page(5, skip), newest_first)).items) == ids[skip : skip + 5]
    for skip in (50, 51, INT32_MAX):
        assert not (await _ids(db, Page(5, skip), newest_first)).items


async def test_a_page_that_ends_with_the_last_row_is_the_last(db: Database) -> None:
    assert (await _ids(db, Page(50))).last is None
    assert (await _ids(db, Page(49))).last == 96
    assert await _ids(db, Page(50, after=98)) == Slice([])
