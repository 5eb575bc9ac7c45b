from dataclasses import replace

import pytest

from grpcmesh.errors import InvalidArgument
from services.kit.db import Database
from services.product.assistant import MAX_TOLD, Assistant, ranked
from services.product.domain import Ranking, Wish
from services.product.storage import SqlProducts
from tests.unit.services.product.memory import product


async def _told(db: Database, question: str) -> list[str]:
    return [p.name for p in (await Assistant(SqlProducts(db)).answer(question)).products]


async def test_words_of_name_tags_and_description_are_found_whatever_their_form(db: Database) -> None:
    assert await _told(db, "Is there a LAPTOP?") == ["Aurora 14 Laptop", "Volt 20 000 Power Bank"]
    assert (await _told(db, "something for hikers"))[:1] == []
    assert await _told(db, "running shoe") == ["Cadence Running Shoes"]
    assert await _told(db, "an ÜBER-parka") == ["Über-Parka 'Polar Night'"]


async def test_a_price_and_a_category_narrow_the_answer(db: Database) -> None:
    assert await _told(db, "headphones below 100") == []
    assert await _told(db, "headphones below 250") == ["Nimbus Noise-Cancelling Headphones"]
    assert await _told(db, "books about cooking") == ["The Hitchhiker's Cook Book", "Bread, Slowly"]
    assert await _told(db, "anything over 1,000") == ["Aurora 14 Laptop"]


async def test_the_cheapest_comes_first_and_no_more_than_five_are_told(db: Database) -> None:
    answer = await Assistant(SqlProducts(db)).answer("cheapest book?")
    assert len(answer.products) == MAX_TOLD
    prices = [p.price for p in answer.products]
    assert prices == sorted(prices)
    assert answer.text.startswith("The cheapest is Tides and Timetables at $18.00. Then: ")


async def test_what_the_database_takes_for_a_pattern_is_a_word_like_any_other(db: Database) -> None:
    for question in ("100% wool_%", "'; DROP TABLE product; --", "\\ % _"):
        await _told(db, question)


async def test_nothing_that_fits_and_nothing_asked_for_are_answered_politely(db: Database) -> None:
    nothing = await Assistant(SqlProducts(db)).answer("saddles for unicorns")
    greeting = await Assistant(SqlProducts(db)).answer("Hello!")
    assert nothing.text.startswith("I am sorry")
    assert greeting.text.startswith("Tell me what you are looking for")
    assert nothing.products == greeting.products == ()


@pytest.mark.parametrize("question", ["", "  ", "q" * 1001, "a\0b", "\ud800"])
async def test_what_is_no_question_is_refused(db: Database, question: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await Assistant(SqlProducts(db)).answer(question)
    assert [v.field for v in caught.value.violations] == ["text"]


def test_more_words_count_for_more_than_better_places_and_what_is_sold_out_goes_last() -> None:
    both = replace(product(1), description="a blue lamp")
    name = replace(product(2), name="Lamp")
    assert ranked(Wish(("lamp", "blu")), [name, both]) == [both]
    sold_out = replace(name, id=3, stock=0)
    assert ranked(Wish(("lamp",)), [sold_out, both, name]) == [name, both, sold_out]
    assert ranked(Wish(("lamp",), ranking=Ranking.DEAREST), [replace(name, price=1), both]) == [
        both,
        replace(name, price=1),
    ]
    assert ranked(Wish(("chair",)), [name]) == []
