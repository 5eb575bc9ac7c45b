"""Layers that record their calls, and layers that raise or refuse."""

from typing import Any

import grpc

from grpcmesh.call import Attempt, AttemptLayer, ClientCall, ClientLayer
from grpcmesh.errors import FailedPrecondition
from tests.unit.stateful.wire import TAG

#: How a layer behaves: it does nothing, raises in one hook, or refuses what begins.
CALL_MOODS = ["calm", "start", "attempt", "end", "refuse"]
ATTEMPT_MOODS = ["calm", "start", "end", "refuse"]


class Mood:
    """How a layer misbehaves in its next hooks. `raised` counts its errors that are no refusals."""

    def __init__(self) -> None:
        self._mood, self._left, self.raised = "calm", 0, 0

    def set(self, mood: str, hooks: int) -> None:
        """Misbehave in this way for the next `hooks` hooks."""
        self._mood, self._left = mood, hooks

    def takes(self, mood: str) -> bool:
        """Return whether to misbehave in this way now, which uses up one hook."""
        if self._mood != mood or not self._left:
            return False
        self._left -= 1
        return True

    def trouble(self, hook: str) -> None:
        """Raise if the layer misbehaves in this hook."""
        if self.takes(hook):
            self.raised += 1
            raise ValueError(hook)


def tag_of(call: ClientCall) -> str:
    """Return which of the test's calls this is."""
    return next(str(value) for key, value in call.metadata if key == TAG)


class Calls(ClientLayer):
    """A layer that records the calls that begin and end."""

    def __init__(self) -> None:
        self.entered: dict[str, list[ClientCall]] = {}
        self.left: dict[str, list[grpc.StatusCode]] = {}
        #: The codes of the ended attempts, in order.
        self.attempted: dict[str, list[grpc.StatusCode]] = {}

    def on_start(self, call: ClientCall) -> None:
        self.entered.setdefault(tag_of(call), []).append(call)

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        self.attempted.setdefault(tag_of(call), []).append(code)

    def on_end(self, call: ClientCall) -> None:
        self.left.setdefault(tag_of(call), []).append(call.code)


class Attempts(AttemptLayer):
    """A layer that records the attempts that begin and end."""

    def __init__(self) -> None:
        self.entered: list[Attempt] = []
        self.left: list[Attempt] = []
        self.live: dict[Attempt, None] = {}
        #: The endpoints that have had an attempt.
        self.endpoints: dict[Any, None] = {}

    def on_start(self, attempt: Attempt) -> None:
        self.entered.append(attempt)
        self.live[attempt] = self.endpoints[attempt.endpoint] = None

    def on_end(self, attempt: Attempt) -> None:
        self.left.append(attempt)
        self.live.pop(attempt, None)


class Trouble(ClientLayer):
    """A layer that raises in one of its hooks, or refuses calls."""

    def __init__(self) -> None:
        self.mood = Mood()
        #: Calls that were refused.
        self.refused: set[str] = set()

    def on_start(self, call: ClientCall) -> None:
        self.mood.trouble("start")
        if self.mood.takes("refuse"):
            self.refused.add(tag_of(call))
            raise FailedPrecondition("no", "NO")

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        self.mood.trouble("attempt")

    def on_end(self, call: ClientCall) -> None:
        self.mood.trouble("end")


class AttemptTrouble(AttemptLayer):
    """A layer that raises in one of its hooks, or refuses attempts."""

    def __init__(self) -> None:
        self.mood = Mood()
        #: Calls one of whose attempts was refused.
        self.refused: set[str] = set()

    def on_start(self, attempt: Attempt) -> None:
        self.mood.trouble("start")
        if self.mood.takes("refuse"):
            self.refused.add(tag_of(attempt.call))
            raise FailedPrecondition("no", "NO")

    def on_end(self, attempt: Attempt) -> None:
        self.mood.trouble("end")
