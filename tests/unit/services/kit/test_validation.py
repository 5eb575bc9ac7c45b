import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.errors import InvalidArgument
from services.kit.paging import MAX_SIZE, page_of
from services.kit.validation import Check, checking


def test_every_wrong_field_is_named_at_once() -> None:
    def check_all() -> None:
        with checking() as check:
            check.id("id", 0)
            check.text("name", "  ", least=1, most=5)
            check.cents("price", -1)
            check.choice("category", 9, range(1, 6))

    with pytest.raises(InvalidArgument) as caught:
        check_all()
    assert [v.field for v in caught.value.violations] == ["id", "name", "price", "category"]


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_text_that_no_database_can_store_is_refused(text: str) -> None:
    check = Check()
    check.text("name", text, most=10)
    assert [v.field for v in check.violations] == ["name"]


def test_text_is_measured_without_surrounding_white_space() -> None:
    check = Check()
    assert check.text("name", " tea \n", least=1, most=3) == "tea"
    assert not check.violations


def test_an_unspecified_choice_is_right_only_where_it_is_optional() -> None:
    check = Check()
    check.choice("a", 0, [1], optional=True)
    check.choice("b", 0, [1])
    assert [v.field for v in check.violations] == ["b"]


def test_page_zero_is_the_first_and_size_zero_the_default() -> None:
    assert page_of(Check(), 0, 0) == page_of(Check(), 1, 20)
    assert page_of(Check(), 3, 10).offset == 20


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_any_page_is_a_slice_that_a_database_takes_or_is_refused(page: int, size: int) -> None:
    check = Check()
    result = page_of(check, page, size)
    assert bool(check.violations) == (page < 0 or size < 0)
    assert 0 <= result.offset < 2**31
    assert 0 <= result.limit <= MAX_SIZE
