"""The experiment one-pod passes only if the plain client is pinned and the mesh's client spreads."""

from collections.abc import Callable
from typing import Any

import pytest

from meshmart.lessons import one_pod
from meshmart.tour.check import Check
from meshmart.tour.stage import SceneError, Stage
from tests.unit.meshmart.test_tour_balance import Channel, Cluster


def turns(method: str) -> str:
    """The key of a rotation over all replicas."""
    return method


class Pinned(Channel):
    """Sends every call to the same replica."""

    def _callable(self, path: str, *args: Any, **kwargs: Any) -> Any:
        self._turns[self._turn(path)] -= 1

        def call(request: Any, **more: Any) -> Any:
            self._turns[self._turn(path)] = 0
            return inner(request, **more)

        inner = super()._callable(path, *args, **kwargs)
        return call

    unary_unary = _callable


async def play(monkeypatch: pytest.MonkeyPatch, plain: Channel, mesh: Channel) -> list[Check]:
    class Plain:
        def __init__(self, config: object) -> None: ...

        def __call__(self, target: str) -> Any:
            return plain

        async def aclose(self) -> None: ...

    class Member:
        config = None

    monkeypatch.setattr(one_pod, "PlainChannels", Plain)
    monkeypatch.setattr(one_pod, "CALLS", 60)
    return await one_pod.play(stage_of(lambda target: mesh, Member()))


def stage_of(channels: Callable[[str], Any], member: Any) -> Stage:
    cluster: Any = Cluster()
    audit: Any = None
    return Stage(cluster, channels, lambda: 0, lambda text: None, audit, member=member)


def missed(checks: list[Check]) -> list[str]:
    # Few calls, and a window that may begin between two turns: the even share has a test of its own scene.
    return [c.what for c in checks if not c.passed and not c.what.startswith("largest share")]


async def test_it_passes_if_one_is_pinned_and_the_other_spreads(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await play(monkeypatch, Pinned(turns), Channel(turns))
    assert missed(checks) == []
    by_name = {check.what: check for check in checks}
    assert by_name["largest share of one replica, plain client"].measured == 100
    assert by_name["largest share of one replica, mesh's client"].measured < 40


async def test_it_fails_if_the_plain_client_spreads(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await play(monkeypatch, Channel(turns), Channel(turns))
    assert missed(checks) == ["replicas that the plain client reached, of 3"]


async def test_it_fails_if_the_meshs_client_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = await play(monkeypatch, Pinned(turns), Pinned(turns))
    assert missed(checks) == ["replicas that the mesh's client reached, of 3"]


async def test_it_needs_certificates() -> None:
    with pytest.raises(SceneError, match="only a member of the mesh"):
        await one_pod.play(stage_of(lambda target: Channel(turns), None))
