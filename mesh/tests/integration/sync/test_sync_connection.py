"""A connection of threads is closed without an error in gRPC's thread that polls its state."""

import asyncio
import threading
from typing import Any

import grpc
import pytest

from grpcmesh.client.sync.connection import PairedChannel
from tests import ports


class Late:
    """The core of a channel. The thread that polls it is held up before it waits for a change."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.polls, self.go_on = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None

    def check_connectivity_state(self, *arguments: Any) -> Any:
        return self._core.check_connectivity_state(*arguments)

    def watch_connectivity_state(self, *arguments: Any) -> Any:
        self.thread = threading.current_thread()
        self.polls.set()
        assert self.go_on.wait(60)
        return self._core.watch_connectivity_state(*arguments)


@pytest.mark.parametrize("asked", [False, True])
async def test_the_channel_is_closed_when_the_thread_that_polls_it_has_ended(
    monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    """Between two looks gRPC's own `close` does not wait for the thread, which then raises ValueError."""
    errors: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda raised: errors.append(str(raised.exc_value)))
    address = ports.address()
    calls = grpc.insecure_channel(address)
    state: Any = calls._connectivity_state  # type: ignore[attr-defined]  # gRPC gives it to its thread
    state.channel = late = Late(state.channel)
    paired = PairedChannel(calls, grpc.aio.insecure_channel(address))
    assert await asyncio.to_thread(late.polls.wait, 60)
    if asked:
        paired._state = grpc.ChannelConnectivity.IDLE
        paired.get_state(try_to_connect=True)
    closing = asyncio.create_task(paired.close())
    await asyncio.wait({closing}, timeout=0.5)  # without waiting for the thread it is over by then
    late.go_on.set()
    await closing
    assert late.thread is not None
    await asyncio.to_thread(late.thread.join, 60)
    assert not late.thread.is_alive()
    assert errors == []
