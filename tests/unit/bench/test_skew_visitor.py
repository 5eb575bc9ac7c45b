"""What a visitor of bench/skew.py takes for a product that is sold out."""

import httpx
import pytest

from bench.skew_visitor import _sold_out

PAGE = '<main>{}</main><footer class="fine">Every call went straight to the replica named.</footer>'


@pytest.mark.parametrize(
    ("status", "notice", "sold_out"),
    [
        (422, '<p class="notice bad spaced" role="alert">product 11: 1 requested, 0 available</p>', True),
        (422, '<p class="notice bad spaced" role="alert">Please look at the fields in red.</p>', False),
        (422, "", False),
        (503, '<p class="notice bad" role="alert">product 11: 1 requested, 0 available</p>', False),
    ],
)
def test_an_order_of_a_product_that_is_sold_out_is_no_failure(
    status: int, notice: str, sold_out: bool
) -> None:
    assert _sold_out(httpx.Response(status, text=PAGE.format(notice))) is sold_out
