import pytest

from local.words import plural


@pytest.mark.parametrize(
    ("number", "noun", "told"),
    [
        (1, "replica", "1 replica"),
        (0, "replica", "0 replicas"),
        ("1,024", "order", "1,024 orders"),
        (2, "process", "2 processes"),
        (2, "retry", "2 retries"),
        (1, "retry", "1 retry"),
        (2, "day", "2 days"),
    ],
)
def test_a_number_has_its_noun(number: int | str, noun: str, told: str) -> None:
    assert plural(number, noun) == told
