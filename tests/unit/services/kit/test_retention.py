import pytest

from grpcmesh.config import ConfigError
from services.kit.retention import DAY, KEPT_DAYS, PIECE, in_pieces, kept_for


def test_how_long_is_kept_is_read_in_days() -> None:
    assert kept_for({}) == KEPT_DAYS * DAY
    assert kept_for({"MESHMART_KEPT_DAYS": "1.5"}) == 1.5 * DAY


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf"])
def test_what_is_no_number_of_days_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="MESHMART_KEPT_DAYS"):
        kept_for({"MESHMART_KEPT_DAYS": text})


async def test_much_is_dropped_a_piece_at_a_time() -> None:
    left, asked = 2 * PIECE + 7, list[int]()

    async def drop(most: int) -> int:
        nonlocal left
        dropped = min(left, most)
        left -= dropped
        asked.append(dropped)
        return dropped

    assert await in_pieces(drop) == 2 * PIECE + 7
    assert asked == [PIECE, PIECE, 7]
