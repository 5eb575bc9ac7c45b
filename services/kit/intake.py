"""Requests that come as a stream: each waited for only so long, and bounded where they are collected."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from grpcmesh.errors import DeadlineExceeded, FieldViolation, InvalidArgument
from services.kit.validation import Check

#: Seconds for which the next request of a batch may be waited for.
BATCH_PATIENCE = 30.0
#: Bytes of all requests of a batch: what is made of them is answered in one message of at most 4 MiB.
MAX_BATCH_BYTES = 2 * 1024 * 1024


class Request(Protocol):
    """A protobuf message, as far as it is looked at here."""

    def ByteSize(self) -> int: ...


R = TypeVar("R", bound=Request)


async def patiently(requests: AsyncIterator[R], patience: float) -> AsyncIterator[R]:
    """The same requests.

    Args:
        requests: As they come.
        patience: Seconds for which each may be waited for.

    Raises:
        DeadlineExceeded: the next one did not come in time.
    """
    while True:
        try:
            async with asyncio.timeout(patience):
                request = await anext(requests)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise DeadlineExceeded(f"no request came for {patience:g} s") from None
        yield request


async def batch(requests: AsyncIterator[R], most: int, patience: float = BATCH_PATIENCE) -> list[R]:
    """All requests of a stream.

    Args:
        requests: As they come.
        most: How many there may be.
        patience: As above.

    Raises:
        InvalidArgument: there are more, or they are too large together.
        DeadlineExceeded: as above.
    """
    collected: list[R] = []
    size = 0
    async for request in patiently(requests, patience):
        collected.append(request)
        size += request.ByteSize()
        if len(collected) > most:
            raise InvalidArgument([FieldViolation("requests", f"must be at most {most}")])
        if size > MAX_BATCH_BYTES:
            raise InvalidArgument([FieldViolation("requests", f"must have at most {MAX_BATCH_BYTES} bytes")])
    return collected


@contextmanager
def entry(check: Check, index: int) -> Iterator[Check]:
    """A check of one request of a batch: what is wrong with it is noted as `requests[INDEX].FIELD`."""
    inner = Check()
    yield inner
    for violation in inner.violations:
        check.fail(f"requests[{index}].{violation.field}", violation.description)
