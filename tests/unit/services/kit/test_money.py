import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.money import MAX_CENTS, MoneyError, from_cents, to_cents


@given(st.integers(0, MAX_CENTS))
def test_every_amount_survives_the_wire(cents: int) -> None:
    assert to_cents(from_cents(cents)) == cents


@given(st.decimals(0, 10_000_000, places=2))
def test_a_decimal_literal_is_its_cents(amount: object) -> None:
    assert to_cents(float(str(amount))) == round(amount * 100)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "value", [-0.01, math.nan, math.inf, -math.inf, 0.001, 19.999, 1e300, 0.1 + 0.2, MAX_CENTS]
)
def test_what_is_no_amount_of_money_is_refused(value: float) -> None:
    with pytest.raises(MoneyError):
        to_cents(value)


@given(st.floats())
def test_any_double_is_either_exact_or_refused(value: float) -> None:
    try:
        cents = to_cents(value)
    except MoneyError:
        return
    assert cents / 100 == value
