"""The memory that the answers of channelz may take, where grpcio never frees them."""

from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from grpcmesh.errors import ResourceExhausted
from grpcmesh.server import channelz
from grpcmesh.server.channelz import BudgetedChannelz, leaks


class _Servicer:
    """Answers with a quarter of the budget."""

    @staticmethod
    async def GetServers(request: Any, context: Any) -> BytesValue:
        return BytesValue(value=bytes(channelz.BUDGET // 4))


async def test_answers_are_refused_when_the_budget_is_used_up_and_given_again_later() -> None:
    now = 0.0
    budgeted = BudgetedChannelz(_Servicer(), clock=lambda: now)
    for _ in range(4):
        await budgeted.GetServers(None, None)
    for _ in range(2):
        with pytest.raises(ResourceExhausted, match="grpcio below"):
            await budgeted.GetServers(None, None)
    now = 86400.0  # a mebibyte later, less what the last answer took too much
    await budgeted.GetServers(None, None)
    with pytest.raises(ResourceExhausted):
        await budgeted.GetServers(None, None)


@pytest.mark.parametrize(
    ("version", "leaking"),
    [
        ("1.82.3", True),
        ("1.85.1", True),
        ("1.85.3", False),
        ("1.86.0rc1", False),
        ("1.100.0.dev0", False),
        ("2.0.0", False),
        ("unknown", True),
    ],
)
def test_the_versions_that_leak(version: str, leaking: bool) -> None:
    assert leaks(version) is leaking
