"""Validates users' profiles."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from services.kit.validation import Check
from services.user.domain import Address, Profile

MAX_LINE = 200
MAX_PHONES = 5
MAX_METADATA = 20
MAX_KEY = 50
MAX_VALUE = 500
#: Telephone numbers as people write them; E.164 allows fifteen digits.
_PHONE = re.compile(r"\+?[0-9 ()./-]{3,30}")
_DIGITS = range(3, 16)


def profile_of(
    check: Check, address: Address | None, phone_numbers: Sequence[str], metadata: Mapping[str, str]
) -> Profile:
    """Return the profile, and record violations in `check`."""
    return Profile(
        _address(check, address) if address else None,
        _phones(check, phone_numbers),
        _metadata(check, metadata),
    )


def _address(check: Check, address: Address) -> Address:
    lines = asdict(address).items()
    return Address(**{name: check.text(f"address.{name}", line, most=MAX_LINE) for name, line in lines})


def _phones(check: Check, numbers: Sequence[str]) -> tuple[str, ...]:
    check.that(len(numbers) <= MAX_PHONES, "phone_numbers", f"must be at most {MAX_PHONES}")
    phones = [number.strip() for number in numbers[:MAX_PHONES]]
    for i, phone in enumerate(phones):
        digits = sum(character.isdigit() for character in phone)
        fits = _PHONE.fullmatch(phone) is not None and digits in _DIGITS
        check.that(fits, f"phone_numbers[{i}]", "must be a telephone number")
    return tuple(dict.fromkeys(phones))


def _metadata(check: Check, metadata: Mapping[str, str]) -> Mapping[str, str]:
    check.that(len(metadata) <= MAX_METADATA, "metadata", f"must be at most {MAX_METADATA}")
    kept = sorted(metadata.items())[:MAX_METADATA]
    # A violation does not repeat the key, which may be of any length.
    return {
        check.text("metadata.key", key, least=1, most=MAX_KEY): check.text(
            "metadata.value", value, most=MAX_VALUE
        )
        for key, value in kept
    }
