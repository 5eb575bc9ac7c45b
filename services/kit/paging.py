"""The rules of `page` and `page_size`: pages count from 1, 0 means the default, sizes are capped."""

from dataclasses import dataclass

from services.kit.validation import INT32_MAX, Check

DEFAULT_SIZE = 20
MAX_SIZE = 100


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of a listing."""

    limit: int = DEFAULT_SIZE
    offset: int = 0


def page_of(check: Check, page: int, page_size: int) -> Page:
    """The slice that a request asks for.

    Args:
        check: Notes a negative `page` or `page_size`.
        page: From 1; 0 means the first.
        page_size: 0 means `DEFAULT_SIZE`; more than `MAX_SIZE` means `MAX_SIZE`.
    """
    check.that(page >= 0, "page", "must not be negative")
    check.that(page_size >= 0, "page_size", "must not be negative")
    limit = min(page_size or DEFAULT_SIZE, MAX_SIZE)
    # Ids are int32, so nothing lies beyond; PostgreSQL would refuse an offset out of range.
    return Page(max(limit, 0), min(max(page - 1, 0) * max(limit, 0), INT32_MAX))
