import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.product.domain import Category, Ranking, Wish
from services.product.question import MAX_STEMS, literally, stem, stems_of, wish_of


@pytest.mark.parametrize(
    ("question", "wish"),
    [
        ("hello, can you help me?", Wish()),
        ("Do you have HEADPHONES?", Wish(("headphon",))),
        ("running shoes under $50", Wish(("run", "sho"), max_price=5000)),
        ("a kettle for at most 12.50 dollars", Wish(("kettl",), max_price=1250)),
        ("laptops over 1,000", Wish(("laptop",), min_price=100_000)),
        ("lamps between 20 and 10.5 €", Wish(("lamp",), min_price=1050, max_price=2000)),
        ("from $5 to $9", Wish(min_price=500, max_price=900)),
        ("the cheapest book", Wish((), Category.BOOKS, ranking=Ranking.CHEAPEST)),
        ("books about cooking", Wish(("cook",), Category.BOOKS)),
        ("your most expensive clothes", Wish((), Category.CLOTHING, ranking=Ranking.DEAREST)),
        ("under 12345678901234567890", Wish(("12345678901234567890",))),
    ],
)
def test_a_question_is_taken_apart_into_words_category_and_price(question: str, wish: Wish) -> None:
    assert wish_of(question) == wish


def test_the_name_of_a_category_may_be_meant_literally() -> None:
    assert literally("a book light under 9") == Wish(("light", "book"), max_price=900)


@pytest.mark.parametrize(
    "words", ["battery batteries", "shoe shoes", "hike hiking", "glass glasses", "run running", "box boxes"]
)
def test_the_forms_of_a_word_are_one(words: str) -> None:
    assert len(stems_of(words)) == 1


@given(st.text(max_size=200))
def test_any_text_is_a_question_and_what_it_asks_for_is_bounded(text: str) -> None:
    wish = wish_of(text)
    assert len(wish.stems) <= MAX_STEMS
    assert all(wish.stems)
    assert 0 <= wish.min_price <= 100_000_000
    assert 0 <= wish.max_price <= 100_000_000


@given(st.text("abcdefgsiny", min_size=1, max_size=12))
def test_a_stem_is_how_the_word_begins_as_the_database_searches_for_it(word: str) -> None:
    assert word.startswith(stem(word))
    assert stem(word)
