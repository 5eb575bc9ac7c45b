"""Normalizes and checks text."""

import unicodedata


def is_encodable(text: str) -> bool:
    """Return whether UTF-8 can encode the text: lone surrogates, which JSON escapes and `str` allow, cannot
    be encoded.
    """
    return not any("\ud800" <= c <= "\udfff" for c in text)


def fold(text: str) -> str:
    """Return the text without differences of case and of composition, for comparison (Unicode, 3.13,
    D146).
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
