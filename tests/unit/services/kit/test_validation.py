import pytest

from grpcmesh.errors import InvalidArgument
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
