import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from grpcmesh.errors import DeadlineExceeded, InvalidArgument
from services.kit.intake import MAX_BATCH_BYTES, batch, entry, patiently
from services.kit.validation import Check


@dataclass
class Said:
    size: int = 1

    def ByteSize(self) -> int:
        return self.size


async def _saying(*requests: Said, then: bool = False) -> AsyncIterator[Said]:
    for request in requests:
        yield request
    if then:
        await asyncio.Event().wait()


async def test_a_batch_is_all_of_a_stream() -> None:
    assert await batch(_saying(Said(), Said(2)), 2) == [Said(), Said(2)]
    assert await batch(_saying(), 2) == []


@pytest.mark.parametrize("requests", [[Said()] * 3, [Said(MAX_BATCH_BYTES), Said()]])
async def test_a_batch_is_bounded_and_read_no_further(requests: list[Said]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await batch(_saying(*requests, then=True), 2)
    assert [v.field for v in caught.value.violations] == ["requests"]


async def test_a_request_is_waited_for_only_so_long() -> None:
    requests = patiently(_saying(Said(), then=True), 0.01)
    assert await anext(requests) == Said()
    with pytest.raises(DeadlineExceeded):
        await anext(requests)


async def test_a_cancellation_is_not_taken_for_impatience() -> None:
    task = asyncio.create_task(batch(_saying(then=True), 2))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_is_wrong_with_one_request_says_which() -> None:
    check = Check()
    with entry(check, 7) as inner:
        inner.fail("name", "must not be empty")
    assert [v.field for v in check.violations] == ["requests[7].name"]
