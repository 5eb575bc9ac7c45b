"""Collects what is wrong with a request, field by field, so that the caller learns all of it at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from grpcmesh.errors import FieldViolation, InvalidArgument
from services.kit import money
from services.kit.text import is_encodable

INT32_MAX = 2**31 - 1
#: The most violations reported for one request. They travel in metadata; above 8 KB a client sees
#: RESOURCE_EXHAUSTED instead.
MAX_TOLD = 32


class Check:
    """Collects violations. Each method returns the value in the form that the domain uses."""

    def __init__(self) -> None:
        self.violations: list[FieldViolation] = []

    def fail(self, field: str, description: str) -> None:
        """Record that `field` (a path such as `items[0].quantity`) is invalid."""
        self.violations.append(FieldViolation(field, description))

    def that(self, condition: bool, field: str, description: str) -> None:
        """Record `description` as a violation unless the condition holds."""
        if not condition:
            self.fail(field, description)

    def id(self, field: str, value: int) -> int:
        """Check that an id is positive."""
        self.that(value > 0, field, "must be positive")
        return value

    def integer(self, field: str, value: int, least: int = 0, most: int = INT32_MAX) -> int:
        """Check that a whole number is in [least, most]."""
        self.that(least <= value <= most, field, f"must be from {least} to {most}")
        return value

    def text(self, field: str, value: str, *, most: int, least: int = 0) -> str:
        """Check that a text has `least` to `most` characters. Return it without surrounding white space.

        NUL is rejected because PostgreSQL cannot store it, lone surrogates because UTF-8 cannot encode them.
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
        """Check an amount of money, and return it in cents (see `services.kit.money.to_cents`)."""
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
        """Check the number of an enum: one of `known`, or 0 if `optional`. proto3 accepts any int32."""
        if value == 0:
            self.that(optional, field, "must be given")
        else:
            self.that(value in known, field, f"{value} is not a known value")
        return value

    def done(self) -> None:
        """Raise InvalidArgument with every violation that was recorded, if any."""
        told, more = self.violations[:MAX_TOLD], len(self.violations) - MAX_TOLD
        if more > 0:
            # First: a long message is cut at its end.
            told.insert(0, FieldViolation("...", f"{more} more are wrong than those that follow"))
        if told:
            raise InvalidArgument(told)


@contextmanager
def checking() -> Iterator[Check]:
    """Collect violations in a block, `with checking() as check:`.

    Raise InvalidArgument at its end if there are any.
    """
    check = Check()
    yield check
    check.done()
