"""Reads requests that arrive as a stream, with a timeout for each and a bound on those that are collected."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from grpcmesh.errors import DeadlineExceeded, FieldViolation, InvalidArgument
from services.kit.validation import Check

#: Seconds to wait for the next request of a batch.
BATCH_PATIENCE = 30.0
#: The most bytes of all requests of a batch, because the answer must fit into one message of at most 4 MiB.
MAX_BATCH_BYTES = 2 * 1024 * 1024


class Request(Protocol):
    """A protobuf message whose size can be asked for."""

    def ByteSize(self) -> int: ...


R = TypeVar("R", bound=Request)


async def patiently(requests: AsyncIterator[R], patience: float) -> AsyncIterator[R]:
    """Yield the requests of a stream, waiting a bounded time for each.

    Args:
        requests: The stream.
        patience: Seconds to wait for each request.

    Raises:
        DeadlineExceeded: the next request did not arrive in time.
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
    """Collect all requests of a stream.

    Args:
        requests: The stream.
        most: The most requests that are accepted.
        patience: Seconds to wait for each request.

    Raises:
        InvalidArgument: there are more, or together they exceed `MAX_BATCH_BYTES`.
        DeadlineExceeded: the next request did not arrive in time.
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
    """Check one request of a batch: an invalid field is reported as `requests[INDEX].FIELD`."""
    inner = Check()
    yield inner
    for violation in inner.violations:
        check.fail(f"requests[{index}].{violation.field}", violation.description)
