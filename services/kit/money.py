"""Converts money between the wire, where the contract has a double, and integer cents, which everything else
uses.
"""

import math

#: Ten billion, in cents. Below 2**51, where a double still tells every cent apart (see `to_cents`).
MAX_CENTS = 1_000_000_000_000


class MoneyError(ValueError):
    """A number is not a valid amount of money; the text says why."""


def to_cents(value: float) -> int:
    """Return the exact number of cents that a double stands for.

    `value * 100` is at most two roundings away from a whole number, far less than half a cent below 2**51
    cents. So rounding finds the only candidate, and dividing (correctly rounded) proves it.

    Raises:
        MoneyError: it is negative, not finite, finer than a cent, or above `MAX_CENTS`.
    """
    if not math.isfinite(value):
        raise MoneyError("must be a finite number")
    if value < 0:
        raise MoneyError("must not be negative")
    if value * 100 > MAX_CENTS:
        raise MoneyError(f"must be at most {from_cents(MAX_CENTS):.2f}")
    cents = round(value * 100)
    if cents / 100 != value:
        raise MoneyError("must be a whole number of cents")
    return cents


def from_cents(cents: int) -> float:
    """Return the double nearest to an amount in cents; `to_cents` converts it back exactly."""
    return cents / 100
