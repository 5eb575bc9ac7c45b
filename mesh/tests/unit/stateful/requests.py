"""Request streams that are wrong."""

from collections.abc import AsyncIterator, Iterator
from typing import Any


def raising() -> Iterator[bytes]:
    """Yield a request, then raise."""
    yield b"one"
    raise ValueError("no more")


async def raising_later() -> AsyncIterator[bytes]:
    """Yield a request, then raise, asynchronously."""
    yield b"one"
    raise ValueError("no more")


def not_bytes() -> Iterator[Any]:
    """Yield a request, then one of a type that no codec accepts."""
    yield b"one"
    yield "two"
