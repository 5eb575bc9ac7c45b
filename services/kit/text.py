"""Text as it is compared."""

import unicodedata


def fold(text: str) -> str:
    """Without regard to case or to how a character is composed (Unicode, 3.13, D146)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
