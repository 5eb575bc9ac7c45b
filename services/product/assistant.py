"""The shop assistant: answers a question with the products that it is about."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.kit.money import from_cents
from services.kit.validation import checking
from services.product.domain import Product, ProductStore, Ranking, Wish
from services.product.question import literally, stems_of, wish_of

MAX_QUESTION = 1000
#: The most products in an answer.
MAX_TOLD = 5
#: The most products considered for an answer.
MAX_CANDIDATES = 200
#: The score of a word in a name, in a tag and in a description.
_NAME, _TAG, _DESCRIPTION = 5, 4, 1

_HINT = "Tell me what you are looking for, such as “headphones under 100” or “the cheapest book”."
_NOTHING = "I am sorry, nothing in our catalogue fits that. Other words, or another price, may help."


@dataclass(frozen=True, slots=True)
class Answer:
    """The assistant's text, and the products that it is about, the best first."""

    text: str
    products: Sequence[Product] = ()


class Assistant:
    """Answers questions from the catalogue alone.

    Args:
        store: The catalogue.
    """

    def __init__(self, store: ProductStore) -> None:
        self._store = store

    async def answer(self, question: str) -> Answer:
        """Return the products that fit the question, or a hint if none does.

        Raises:
            InvalidArgument: the question is empty or too long (`text`).
        """
        with checking() as check:
            question = check.text("text", question, least=1, most=MAX_QUESTION)
        wish = wish_of(question)
        if wish.empty:
            return Answer(_HINT)
        found = await self._fitting(wish)
        if not found and wish.category:
            found = await self._fitting(literally(question))
        return Answer(_sentence(wish, found), found) if found else Answer(_NOTHING)

    async def _fitting(self, wish: Wish) -> list[Product]:
        return ranked(wish, await self._store.candidates(wish, MAX_CANDIDATES))[:MAX_TOLD]


def ranked(wish: Wish, products: Sequence[Product]) -> list[Product]:
    """Return the products with the most words of the wish, in its ranking.

    Products out of stock come last.
    """
    scored = [(product, *_score(wish, product)) for product in products]
    most = max((words for _, words, _ in scored), default=0)
    if wish.stems and not most:
        return []
    kept = [(product, score) for product, words, score in scored if words == most]
    sign = {Ranking.CHEAPEST: 1, Ranking.DEAREST: -1}.get(wish.ranking, 0)
    kept.sort(key=lambda pair: (pair[0].stock == 0, sign * pair[0].price, -pair[1], pair[0].id))
    return [product for product, _ in kept]


def _score(wish: Wish, product: Product) -> tuple[int, int]:
    """Return how many words of the wish the product has, and their total score."""
    places = (
        (_NAME, stems_of(product.name)),
        (_TAG, stems_of(" ".join(product.tags))),
        (_DESCRIPTION, stems_of(product.description)),
    )
    worths = [sum(worth for worth, words in places if stem in words) for stem in wish.stems]
    return sum(map(bool, worths)), sum(worths)


def _sentence(wish: Wish, found: Sequence[Product]) -> str:
    told = [_told(product) for product in found]
    if len(told) == 1:
        return f"This fits: {told[0]}."
    if wish.ranking is Ranking.BEST:
        return f"These fit: {'; '.join(told)}."
    which = "cheapest" if wish.ranking is Ranking.CHEAPEST else "dearest"
    return f"The {which} is {told[0]}. Then: {'; '.join(told[1:])}."


def _told(product: Product) -> str:
    sold_out = "" if product.stock else ", sold out"
    return f"{product.name} at ${from_cents(product.price):,.2f}{sold_out}"
