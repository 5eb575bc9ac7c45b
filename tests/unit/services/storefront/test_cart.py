import string

from hypothesis import given
from hypothesis import strategies as st

from services.storefront.cart import MAX_LINES, MAX_QUANTITY, Cart

ids, quantities = st.integers(1, 2**31 - 1), st.integers(1, MAX_QUANTITY)


@given(st.lists(st.tuples(ids, quantities), max_size=MAX_LINES))
def test_a_cart_survives_its_cookie(lines: list[tuple[int, int]]) -> None:
    cart = Cart()
    for product, quantity in lines:
        cart = cart.with_quantity(product, quantity)
    assert Cart.parse(str(cart)) == cart


@given(st.text(string.printable))
def test_whatever_a_cookie_says_a_cart_is_within_bounds(cookie: str) -> None:
    cart = Cart.parse(cookie)
    assert len(cart.quantities) <= MAX_LINES
    assert all(0 < q <= MAX_QUANTITY and 0 < p < 2**31 for p, q in cart.quantities)


def test_what_is_malformed_is_left_out_and_the_rest_kept() -> None:
    assert Cart.parse("1x2.0x5.99999999999x1.x.3x0.-1x2.7x100.٣x1.4x1").quantities == ((1, 2), (4, 1))


def test_a_full_cart_takes_more_of_what_it_has_and_nothing_new() -> None:
    cart = Cart()
    for product in range(1, MAX_LINES + 1):
        cart = cart.added(product, 1)
    assert cart.added(99, 1) == cart
    assert cart.added(1, 1).quantity(1) == 2


def test_a_quantity_stops_at_the_most_and_none_removes() -> None:
    cart = Cart().added(1, 98).added(1, 5)
    assert cart.quantity(1) == MAX_QUANTITY
    assert cart.with_quantity(1, 0) == Cart()
    assert cart.count == MAX_QUANTITY
