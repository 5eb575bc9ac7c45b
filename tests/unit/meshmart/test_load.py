"""A load begins when its replicas are connected: one that is late has a smaller share of the calls."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from meshmart import load


class Channel:
    """A channel to two replicas, of which the second is connected to when the test says so."""

    def __init__(self) -> None:
        self.second, self.asked = "connecting", asyncio.Event()

    async def channel_ready(self) -> None:
        pass

    def state(self) -> dict[str, Any]:
        self.asked.set()
        return {"target": "product", "endpoints": [{"state": "ready"}, {"state": self.second}]}


def member(channel: Channel) -> Any:
    config = SimpleNamespace(balancer=SimpleNamespace(slow_start=0.0))
    return SimpleNamespace(
        config=config, channel=lambda target: channel, state=lambda: {"targets": [{"target": "product"}]}
    )


async def test_it_waits_until_every_replica_is_connected() -> None:
    channel = Channel()
    connecting = asyncio.create_task(load._connect(member(channel)))
    await channel.asked.wait()
    assert not connecting.done()
    channel.second = "ready"
    await connecting


async def test_a_replica_that_cannot_be_connected_to_does_not_prevent_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "CONNECT", 0.05)
    channel = Channel()
    await load._connect(member(channel))
    assert channel.second == "connecting"
