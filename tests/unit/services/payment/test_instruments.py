import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.validation import Check
from services.payment.domain import BankAccount, Card, Method, Wallet
from services.payment.instruments import FLAT_FIELDS, instrument, luhn

from .conftest import NOW

GOOD = Card("4242 4242 4242 4242", "01/26", "123")


def _wrong(method: Method | None, details: Card | BankAccount | Wallet, now: float = NOW) -> set[str]:
    check = Check()
    instrument(check, method, details, now)
    return {violation.field for violation in check.violations}


@given(st.text("0123456789", min_size=11, max_size=18))
def test_exactly_one_digit_completes_a_number(digits: str) -> None:
    assert sum(luhn(digits + last) for last in "0123456789") == 1


@given(st.text("0123456789", min_size=12, max_size=19), st.data())
def test_a_mistyped_digit_is_noticed(digits: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(digits) - 1))
    other = data.draw(st.sampled_from([d for d in "0123456789" if d != digits[place]]))
    assert not (luhn(digits) and luhn(digits[:place] + other + digits[place + 1 :]))


def test_a_card_is_good_to_the_end_of_its_month() -> None:
    assert _wrong(None, GOOD) == set()
    month = 31 * 24 * 3600
    assert _wrong(None, GOOD, NOW + month - 1) == set()
    assert _wrong(None, GOOD, NOW + month) == {"credit_card.expiry"}


@pytest.mark.parametrize("expiry", ["", "13/30", "00/30", "1/30", "01/2030", "0130", "ab/cd", "٠١/٣٠"])
def test_an_expiry_is_a_month_and_a_year(expiry: str) -> None:
    assert _wrong(None, Card("4242424242424242", expiry, "123")) == {"credit_card.expiry"}


@pytest.mark.parametrize("number", ["", "4242", "4242424242424241", "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢", "4" * 20])
def test_a_card_number_has_its_digits_and_its_check(number: str) -> None:
    assert _wrong(None, Card(number, "01/26", "123")) == {"credit_card.number"}


@pytest.mark.parametrize("cvv", ["", "12", "1234", "12345", "abc", "١٢٣"])
def test_a_cvv_has_three_digits(cvv: str) -> None:
    assert _wrong(None, Card("4242424242424242", "01/26", cvv)) == {"credit_card.cvv"}


def test_a_cvv_of_american_express_has_four() -> None:
    assert _wrong(None, Card("3782 822463 10005", "01/26", "1234")) == set()
    assert _wrong(None, Card("378282246310005", "01/26", "123")) == {"credit_card.cvv"}


def test_every_wrong_field_is_named_as_the_request_names_it() -> None:
    check = Check()
    instrument(check, Method.PAYPAL, Card("1", "2", "3"), NOW, FLAT_FIELDS)
    assert {v.field for v in check.violations} == {"method", *FLAT_FIELDS}


def test_accounts_and_wallets_are_checked_too() -> None:
    assert _wrong(None, BankAccount("1234567890", "110000000")) == set()
    assert _wrong(None, BankAccount("12", "1")) == {
        "bank_account.account_number",
        "bank_account.routing_number",
    }
    assert _wrong(None, BankAccount("1234567890", "110000001")) == {"bank_account.routing_number"}
    assert _wrong(Method.PAYPAL, Wallet("alice", "paypal")) == set()
    assert _wrong(None, Wallet(" ", "")) == {"digital_wallet.wallet_id", "digital_wallet.provider"}


def test_a_card_does_not_show_in_a_repr() -> None:
    made = instrument(Check(), None, GOOD, NOW)
    assert "4242" not in repr(made)
    assert made.last_four == "4242"
    assert made.method is Method.CREDIT_CARD
