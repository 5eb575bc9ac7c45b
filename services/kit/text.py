"""Text as it is compared and encoded."""

import unicodedata


def is_encodable(text: str) -> bool:
    """Return whether UTF-8 can carry the text. It has no lone surrogates; JSON's escapes and `str` have."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def fold(text: str) -> str:
    """Without regard to case or to how a character is composed (Unicode, 3.13, D146)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
