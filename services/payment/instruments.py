"""Validates an instrument before it is charged.

A card number has 12 to 19 digits, the last of which is a check digit (ISO/IEC 7812-1, Luhn). An expiry is
MM/YY, valid to the end of its month. A CVV has three digits, with American Express four. The routing number
of an account carries a check digit, too. Spaces and hyphens in numbers are removed.
"""

import time

from services.kit.validation import Check
from services.payment.domain import BankAccount, Card, Instrument, Method, Wallet

_METHODS: dict[type[Card | BankAccount | Wallet], tuple[Method, ...]] = {
    Card: (Method.CREDIT_CARD, Method.DEBIT_CARD),
    BankAccount: (Method.BANK_TRANSFER,),
    Wallet: (Method.DIGITAL_WALLET, Method.PAYPAL),
}
_AMEX = ("34", "37")
#: Field paths of a card in a request: number, expiry, CVV.
CARD_FIELDS = ("credit_card.number", "credit_card.expiry", "credit_card.cvv")
FLAT_FIELDS = ("card_number", "expiry_date", "cvv")


def instrument(
    check: Check,
    method: Method | None,
    details: Card | BankAccount | Wallet,
    now: float,
    card_fields: tuple[str, str, str] = CARD_FIELDS,
) -> Instrument:
    """Return the validated instrument.

    Args:
        check: Records every field that is wrong, but never its content.
        method: The method in the request; None takes the usual one for the details.
        details: The instrument as the buyer gave it.
        now: Unix seconds, for the expiry.
        card_fields: The names of a card's number, expiry and CVV in violations.
    """
    fitting = _METHODS[type(details)]
    kind = type(details).__name__
    check.that(method is None or method in fitting, "method", f"does not go with a {kind}")
    match details:
        case Card():
            details = Card(_plain(details.number), details.expiry.strip(), details.cvv)
            _card(check, details, now, card_fields)
        case BankAccount():
            details = BankAccount(_plain(details.account_number), _plain(details.routing_number))
            _account(check, details)
        case Wallet():
            check.text("digital_wallet.wallet_id", details.wallet_id, least=1, most=100)
            check.text("digital_wallet.provider", details.provider, least=1, most=100)
    return Instrument(method or fitting[0], details)


def luhn(number: str) -> bool:
    """Return whether the last digit is the check digit of the others (ISO/IEC 7812-1 annex B)."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _card(check: Check, card: Card, now: float, fields: tuple[str, str, str]) -> None:
    number, expiry, cvv = fields
    check.that(_digits(card.number, 12, 19) and luhn(card.number), number, "is not a card number")
    if problem := _expiry(card.expiry, now):
        check.fail(expiry, problem)
    length = 4 if card.number.startswith(_AMEX) else 3
    check.that(_digits(card.cvv, length, length), cvv, f"must be {length} digits")


def _expiry(expiry: str, now: float) -> str | None:
    month, separator, year = expiry.partition("/")
    if not separator or not _digits(month, 2, 2) or not _digits(year, 2, 2) or not 1 <= int(month) <= 12:
        return "must be MM/YY"
    today = time.gmtime(now)
    if (2000 + int(year), int(month)) < (today.tm_year, today.tm_mon):
        return "is past"
    return None


def _account(check: Check, account: BankAccount) -> None:
    check.that(
        _digits(account.account_number, 4, 17), "bank_account.account_number", "must be 4 to 17 digits"
    )
    check.that(_aba(account.routing_number), "bank_account.routing_number", "is not a routing number")


def _aba(number: str) -> bool:
    """Return whether a number is an ABA routing number: nine digits whose weighted sum is a multiple
    of ten.
    """
    weighted = zip(number, (3, 7, 1) * 3, strict=False)
    return _digits(number, 9, 9) and sum(int(digit) * weight for digit, weight in weighted) % 10 == 0


def _plain(number: str) -> str:
    return number.replace(" ", "").replace("-", "")


def _digits(text: str, shortest: int, longest: int) -> bool:
    # str.isdigit alone accepts the digits of every script.
    return text.isascii() and text.isdigit() and shortest <= len(text) <= longest
