"""What scenes disturb: they leave nothing of it, and touch nothing that somebody else has disturbed."""

from types import SimpleNamespace
from typing import Any

import pytest

from local.errors import ClusterError
from meshmart.tour import slow_dependency
from meshmart.tour.stage import Stage


class Cluster:
    """A cluster of three replicas of notification, of which the first has no process after it was paused."""

    def __init__(self) -> None:
        self.paused: set[int] = set()

    async def endpoints(self, service: str) -> list[Any]:
        return [SimpleNamespace(id=n, name=f"{service}-{n}", address=f"127.0.5.{n}:1") for n in (1, 2, 3)]

    async def pause(self, service: str, replica: int) -> None:
        self.paused.add(replica)

    async def resume(self, service: str, replica: int) -> None:
        self.paused.discard(replica)
        if replica == 1:
            raise ClusterError("notification-1 has no process just now: it waits for its restart")


def stage_of(cluster: Any, said: list[str], **more: Any) -> Stage:
    nothing: Any = None
    return Stage(cluster, nothing, nothing, said.append, nothing, **more)


@pytest.mark.parametrize("fails", [False, True])
async def test_a_replica_that_cannot_be_resumed_leaves_no_other_hanging(fails: bool) -> None:
    cluster, said = Cluster(), list[str]()
    problem = "the load failed" if fails else ""
    try:
        async with slow_dependency._hanging(stage_of(cluster, said), "notification"):
            assert cluster.paused == {1, 2, 3}
            if fails:
                raise RuntimeError(problem)
    except RuntimeError as e:
        assert str(e) == problem
    assert cluster.paused == set()
    assert "notification/1 could not be resumed" in said[-1]
