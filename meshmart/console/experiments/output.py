"""Reads what a command prints, in bounded memory. Pure."""

import codecs
import json
from collections.abc import Iterator
from typing import Any

#: The longest line that is kept, in characters; the rest of a longer one is dropped.
LONGEST = 400
#: The most bytes of standard output that are kept.
MAX_OUTPUT = 1024 * 1024


class Lines:
    """Splits a stream of bytes into lines of text, without what could control a terminal."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""

    def feed(self, data: bytes) -> Iterator[str]:
        """Yield the lines that have ended. Empty data ends the stream, and with it the last line."""
        *ended, rest = (self._rest + self._decode(data, not data)).split("\n")
        self._rest = rest[:LONGEST]
        yield from map(_clean, ended)
        if not data and self._rest:
            yield _clean(self._rest)
            self._rest = ""


def _clean(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line[:LONGEST]).rstrip()


class Output:
    """Collects the standard output of a command."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._whole = True

    def feed(self, data: bytes) -> None:
        """Add what was read. Beyond `MAX_OUTPUT` it is dropped, and there is no outcome."""
        self._whole = self._whole and len(self._data) + len(data) <= MAX_OUTPUT
        if self._whole:
            self._data += data

    def outcome(self) -> dict[str, Any] | None:
        """Return the outcome that `--json` printed; None if there is not exactly one valid outcome.

        Infinity and NaN, which JSON does not have, become None.
        """
        if not self._whole:
            return None
        try:
            (outcome,) = json.loads(self._data, parse_constant=lambda _: None)
            valid = isinstance(outcome["checks"], list) and isinstance(outcome["passed"], bool)
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return outcome if valid and "measured" in outcome else None
