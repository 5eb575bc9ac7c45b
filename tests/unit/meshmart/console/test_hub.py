"""Frames for many viewers, none of whom can make others wait."""

import asyncio

import pytest

from meshmart.console import hub as hubs
from meshmart.console.hub import FullError, Hub


async def test_a_slow_viewer_gets_the_newest_frame_and_not_those_it_missed() -> None:
    hub = Hub()
    with hub.viewer() as quick, hub.viewer() as slow:
        for number in range(1, 101):
            hub.publish(b"%d" % number)
            assert await quick.next() == (number, b"%d" % number)
        assert await slow.next() == (100, b"100")


async def test_a_viewer_waits_for_a_frame_that_it_has_not_had() -> None:
    hub = Hub()
    hub.publish(b"one")
    with hub.viewer() as viewer:
        assert await viewer.next() == (1, b"one")  # a new viewer sees the mesh at once
        waiting = asyncio.ensure_future(viewer.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.publish(b"two")
        assert await waiting == (2, b"two")


async def test_the_number_of_viewers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "MAX_VIEWERS", 1)
    hub = Hub()
    with hub.viewer(), pytest.raises(FullError):
        hub.viewer()
    with hub.viewer():
        assert hub.watched
    assert not hub.watched
