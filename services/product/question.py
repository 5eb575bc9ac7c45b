"""Parses a question in plain English into a `Wish`. Pure.

It uses no model, only rules that suit a shop: words without their endings, a category, a price, "cheapest".
"""

import re
from collections.abc import Sequence

from services.kit.text import fold
from services.product.domain import Category, Ranking, Wish

#: The most words of a question that are searched for.
MAX_STEMS = 12
#: In cents; a higher price is no bound.
_MAX_PRICE = 100_000_000

_CURRENCY = r"\s*(?:[$€£]|usd|eur|dollars?|euros?|bucks)?\s*"
_AMOUNT = rf"{_CURRENCY}(\d[\d,]{{0,9}}(?:\.\d{{1,2}})?)(?![\d.]*\d){_CURRENCY}"
_MOST = r"(?:\b(?:under|below|less than|cheaper than|up to|at most|no more than|within|max(?:imum)?)|<=?)"
_LEAST = r"(?:\b(?:over|above|more than|at least|starting at|min(?:imum)?)|>=?)"
_BETWEEN = re.compile(rf"\b(?:between|from){_AMOUNT}(?:and|to|-|–){_AMOUNT}")
_UNDER, _OVER = re.compile(_MOST + _AMOUNT), re.compile(_LEAST + _AMOUNT)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")


def _words(text: str) -> list[str]:
    return text.split()


_CATEGORIES = {
    Category.ELECTRONICS: "electronics electronic gadget gadgets",
    Category.CLOTHING: "clothing clothes apparel garment garments",
    Category.BOOKS: "book books",
    Category.HOME: "home household",
    Category.SPORTS: "sport sports sporting",
}
_CATEGORY_OF = {word: category for category, words in _CATEGORIES.items() for word in _words(words)}
_RANKINGS = {
    **dict.fromkeys(_words("cheapest cheap cheaper lowest inexpensive affordable budget"), Ranking.CHEAPEST),
    **dict.fromkeys(_words("dearest priciest finest premium luxury expensive"), Ranking.DEAREST),
}
_STOP = frozenset(
    _words("""
    a about all also am an and another any anyone anything are as at available be been best bit but buy by
    can carry catalogue cost costs could do does dollar dollars euro euros ever find first for from get gift
    give good got great had has have hello help hey hi how i i'd i'll i'm if in into is it its item items just
    kind know less like list looking look made make many may me most much my need nice no not now of offer on
    one or order other our out per please price priced prices product products purchase recommend sell shop
    should show some somebody someone something stock store suggest suggestion tell than thank thanks that
    the their them there these they thing things this those to too under us use very want was we what what's
    when where which who whose will with would yes you your""")
)
_ENDINGS = ("ies", "ing", "es", "ed", "s", "y", "e")


def wish_of(question: str) -> Wish:
    """Return what the question asks for."""
    text, low, high = _prices(fold(question))
    words = [word.replace("’", "'").removesuffix("'s") for word in _WORD.findall(text)]
    category = next((_CATEGORY_OF[word] for word in words if word in _CATEGORY_OF), Category.UNSPECIFIED)
    ranking = next((_RANKINGS[word] for word in words if word in _RANKINGS), Ranking.BEST)
    said = [w for w in words if w not in _STOP and w not in _RANKINGS and _CATEGORY_OF.get(w) is None]
    return Wish(_stems(said), category, low, high, ranking)


def literally(question: str) -> Wish:
    """Return the wish if category names are taken as ordinary words: "a book light"."""
    wish = wish_of(question)
    words = [word for word in _WORD.findall(_prices(fold(question))[0]) if word in _CATEGORY_OF]
    stems = dict.fromkeys((*wish.stems, *_stems(words)))
    return Wish(tuple(stems), Category.UNSPECIFIED, wish.min_price, wish.max_price, wish.ranking)


def stem(word: str) -> str:
    """Return a folded word without its ending, so that `batteries` and `battery` have the same stem."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    doubled = len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls"
    return word[:-1] if doubled else word


def stems_of(text: str) -> frozenset[str]:
    """Return the stems of all words of a text."""
    return frozenset(stem(word) for word in _WORD.findall(fold(text)))


def _stems(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(stem(word) for word in words if len(word) > 1))[:MAX_STEMS]


def _prices(text: str) -> tuple[str, int, int]:
    """Return the text without its prices, the lower bound and the upper bound in cents."""
    low = high = 0
    if match := _BETWEEN.search(text):
        low, high = sorted((_cents(match[1]), _cents(match[2])))
        text = _BETWEEN.sub(" ", text)
    if match := _UNDER.search(text):
        high = _cents(match[1])
        text = _UNDER.sub(" ", text)
    if match := _OVER.search(text):
        low = _cents(match[1])
        text = _OVER.sub(" ", text)
    return text, low, high


def _cents(amount: str) -> int:
    units, _, fraction = amount.replace(",", "").partition(".")
    return min(int(units) * 100 + int(fraction.ljust(2, "0") or 0), _MAX_PRICE)
