"""Pages of a listing.

A listing is ordered by a key: an id or a cursor that never changes and is never used twice. A page begins
after the key with which the one before ended, so what is added or removed meanwhile shifts nothing, and a
deep page costs as much as the first. A page token holds that key and identifies the listing it belongs to.

Clients of the first version ask for pages by number, from 1, and 0 means the first. A number is a count of
rows, so those rows are passed over in an index, a bounded number in a statement.
"""

import base64
import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from services.kit.validation import INT32_MAX, Check

DEFAULT_SIZE = 20
MAX_SIZE = 100
#: The trailing metadata key of the next page's token. It is not in the messages: a
#: product in a listing is the same message as one that is fetched by its id.
NEXT_PAGE_TOKEN = "next-page-token"
#: The version of a token, the listing's digest, the key.
_TOKEN = struct.Struct("!B6sq")
_VERSION: Final = 1

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of a listing.

    Args:
        limit: The number of rows, from 1 to `MAX_SIZE`.
        skip: The number of rows to skip first.
        after: The key after which the page begins; None begins with the first row.
    """

    limit: int = DEFAULT_SIZE
    skip: int = 0
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """The items of a page. If more follow, `last` is the key of the last item, else None."""

    items: Sequence[T] = ()
    last: int | None = None

    @classmethod
    def of(cls, found: Sequence[T], limit: int, key: Callable[[T], int]) -> "Slice[T]":
        """Return the slice of up to `limit` items.

        `found` may hold one item more, which shows that more follow.
        """
        more = len(found) > limit
        return cls(found[:limit], key(found[limit - 1]) if more else None)

    def map(self, convert: Callable[[T], R]) -> "Slice[R]":
        """Return the same slice with each item converted."""
        return Slice([convert(item) for item in self.items], self.last)


class Paged(Protocol):
    """A protobuf request for a page."""

    @property
    def page(self) -> int: ...
    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...


class Trailed(Protocol):
    """The part of a gRPC call's context that sets trailing metadata."""

    def set_trailing_metadata(self, trailing_metadata: tuple[tuple[str, str], ...], /) -> None: ...


class Listing:
    """A listing under one filter. Its page tokens are rejected with any other filter.

    Args:
        name: Names the listing; unique in the shop.
        filters: The values that decide which rows belong to the listing.
    """

    def __init__(self, name: str, *filters: int | str) -> None:
        self._digest = hashlib.blake2s(repr((name, *filters)).encode(), digest_size=6).digest()

    def page(self, check: Check, request: Paged) -> Page:
        """Return the page that a request asks for.

        Args:
            check: Records a negative `page` or `page_size`, a `page_token` that does not belong to this
                listing, and `page` together with `page_token`.
            request: `page_size` 0 means `DEFAULT_SIZE`; more than `MAX_SIZE` means `MAX_SIZE`.
        """
        page, size, token = request.page, request.page_size, request.page_token
        check.that(page >= 0, "page", "must not be negative")
        check.that(size >= 0, "page_size", "must not be negative")
        check.that(not (page and token), "page", "must not be given together with page_token")
        limit = max(min(size or DEFAULT_SIZE, MAX_SIZE), 1)
        if token:
            return Page(limit, after=self._key(check, token))
        # Keys are at most int64, but there are no more rows than int32 ids.
        return Page(limit, min(max(page - 1, 0) * limit, INT32_MAX))

    def items(self, context: Trailed, found: Slice[T]) -> Sequence[T]:
        """Return the items of a page, and send the token of the next page, if any, in the call's trailing
        metadata.
        """
        if found.last is not None:
            context.set_trailing_metadata(((NEXT_PAGE_TOKEN, self.token(found.last)),))
        return found.items

    def token(self, key: int) -> str:
        """Return the token of the page that begins after a key."""
        return base64.urlsafe_b64encode(_TOKEN.pack(_VERSION, self._digest, key)).decode()

    def _key(self, check: Check, token: str) -> int | None:
        try:
            data = base64.b64decode(token.encode("ascii"), b"-_", validate=True)
            if base64.urlsafe_b64encode(data).decode() != token:
                data = b""  # Python takes + and / as well, and bits after the end
        except ValueError:  # neither base64 nor ASCII
            data = b""
        if data and data[0] != _VERSION:
            check.fail("page_token", "is of another version of this service; begin with the first page again")
            return None
        if len(data) != _TOKEN.size:
            check.fail("page_token", "is not a page token of this service")
            return None
        _, digest, key = _TOKEN.unpack(data)
        check.that(digest == self._digest, "page_token", "belongs to another listing, or to another filter")
        return int(key)
