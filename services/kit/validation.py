"""Collects what is wrong with a request, field by field, so that the caller learns all of it at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from grpcmesh.errors import FieldViolation, InvalidArgument
from services.kit import money
from services.kit.text import is_encodable

INT32_MAX = 2**31 - 1
#: Violations told of one request. They travel in metadata, of which a client takes 8 KB, else it sees
#: RESOURCE_EXHAUSTED instead.
MAX_TOLD = 32


class Check:
    """The collector. Each method returns the value as the domain wants it."""

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []

    def fail(self, field: str, description: str) -> None:
        """Notes that `field` (a path such as `items[0].quantity`) is wrong."""
        self.violations.append(FieldViolation(field, description))

    def that(self, condition: bool, field: str, description: str) -> None:
        """Notes `description` unless the condition holds."""
        if not condition:
            self.fail(field, description)

    def id(self, field: str, value: int) -> int:
        """An id: positive."""
        self.that(value > 0, field, "must be positive")
        return value

    def integer(self, field: str, value: int, least: int = 0, most: int = INT32_MAX) -> int:
        """A whole number in [least, most]."""
        self.that(least <= value <= most, field, f"must be from {least} to {most}")
        return value

    def text(self, field: str, value: str, *, most: int, least: int = 0) -> str:
        """Text of `least` to `most` characters, without surrounding white space.

        NUL is refused because PostgreSQL cannot store it; lone surrogates because nothing can.
        """
        text = value.strip()
        if "\0" in text or not is_encodable(text):
            self.fail(field, "must not contain NUL or surrogate characters")
        elif least and not text:
            self.fail(field, "must not be empty")
        elif not least <= len(text) <= most:
            self.fail(field, f"must have from {least} to {most} characters")
        return text

    def cents(self, field: str, value: float, least: int = 0, most: int = money.MAX_CENTS) -> int:
        """An amount of money, in cents (see `services.kit.money.to_cents`)."""
        try:
            cents = money.to_cents(value)
        except money.MoneyError as e:
            self.fail(field, str(e))
            return 0
        if not least <= cents <= most:
            bounds = f"{money.from_cents(least):.2f} to {money.from_cents(most):.2f}"
            self.fail(field, f"must be from {bounds}")
        return cents

    def choice(self, field: str, value: int, known: Sequence[int], *, optional: bool = False) -> int:
        """The number of an enum, as proto3 lets any int32 in: one of `known`, or 0 if `optional`."""
        if value == 0:
            self.that(optional, field, "must be given")
        else:
            self.that(value in known, field, f"{value} is not a known value")
        return value

    def done(self) -> None:
        """Raises InvalidArgument with everything that was noted, if anything was."""
        told, more = self.violations[:MAX_TOLD], len(self.violations) - MAX_TOLD
        if more > 0:
            # First: a long message is cut at its end.
            told.insert(0, FieldViolation("...", f"{more} more are wrong than those that follow"))
        if told:
            raise InvalidArgument(told)


@contextmanager
def checking() -> Iterator[Check]:
    """`with checking() as check:` raises InvalidArgument at the end of the block if a field is wrong."""
    check = Check()
    yield check
    check.done()
