import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storefront.domain import Problem, ShopError
from services.storefront.forms import cents, field_errors, integer, local_path, whole_number
from services.storefront.site import money


@pytest.mark.parametrize("path", ["/", "/orders/7", "/?category=books&page=2", "/checkout"])
def test_a_path_of_ours_is_where_one_goes_next(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "orders",
        "//evil.test",
        "https://evil.test/",
        "/\\evil.test",
        "\\\\evil.test",
        "/a\nb",
        "javascript:1",
    ],
)
def test_nobody_is_sent_to_another_site(path: str) -> None:
    assert local_path(path) == "/"


@given(st.text())
def test_a_number_is_within_bounds_whatever_was_typed(text: str) -> None:
    assert 1 <= integer(text, 5, 1, 10) <= 10


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7), ("-3", 1), ("99", 10), ("x", 5), ("", 5), ("٣", 5), ("1" * 11, 5)]
)
def test_a_number_is_read_or_its_default_taken(text: str, number: int) -> None:
    assert integer(text, 5, 1, 10) == number


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("07", 7), ("99", 99)])
def test_a_whole_number_is_read(text: str, number: int) -> None:
    assert whole_number(text, 1, 99) == number


NO_QUANTITIES = [
    *("", "-1", "0", "abc", "1e3", "1.5", "+1", "1 1", "0x1", "1_0", "100", "9" * 5000),
    *("\N{ARABIC-INDIC DIGIT THREE}", "\N{SUPERSCRIPT TWO}", "\N{FULLWIDTH DIGIT ONE}"),
]


@pytest.mark.parametrize("text", NO_QUANTITIES)
def test_what_is_no_whole_number_within_bounds_is_none(text: str) -> None:
    assert whole_number(text, 1, 99) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 1200),
        ("12.5", 1250),
        ("12.509", 1250),
        (".5", 50),
        ("", 0),
        ("x", 0),
        ("-1", 0),
        ("1e9", 0),
        ("9" * 8, 0),
    ],
)
def test_a_price_is_read_as_cents(text: str, value: int) -> None:
    assert cents(text) == value


def test_money_reads_well() -> None:
    assert [money(n) for n in (0, 5, 123_456, -50)] == ["$0.00", "$0.05", "$1,234.56", "-$0.50"]


def test_errors_go_to_their_inputs_and_the_rest_above_the_form() -> None:
    error = ShopError(
        Problem.INVALID,
        "m",
        fields={"shipping_address.city": "must not be empty", "items[0].quantity": "too many"},
    )
    assert field_errors(error, {"city": "city"}) == {
        "city": "must not be empty",
        "form": "items[0].quantity: too many",
    }
    assert field_errors(ShopError(Problem.RULE, "sold out"), {}) == {"form": "sold out"}
