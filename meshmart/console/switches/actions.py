"""The table of actions: their names, their arguments with bounds, and how each is done."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from meshmart.console.switches.arguments import Choice, Name, Number, Parameter
from meshmart.console.switches.mesh import Arguments, Mesh

#: The most replicas of a service, and the most arrivals per second of a load.
MAX_REPLICAS, MAX_RPS = 10, 50.0
#: The most seconds that a disturbance lasts unless somebody puts it back earlier, and the default.
MAX_SECONDS, SECONDS = 3600.0, 300.0
#: The scenarios of a load, the same as those of `meshmart load --scenario`.
SCENARIOS = ("mix", "view", "catalogue", "browse", "search", "buy", "checkout")
#: The status codes with which the fault `error` can answer, the most usual first. They are listed here
#: because a console that is only looked at does not load grpc.
CODES = (
    "UNAVAILABLE",
    "ABORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
    "DATA_LOSS",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "OUT_OF_RANGE",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED",
    "UNIMPLEMENTED",
    "UNKNOWN",
)

_SERVICE, _REPLICA = Name("service"), Number("replica", 1, 10_000, whole=True)
_FOR = Number("seconds", 5, MAX_SECONDS, SECONDS)


@dataclass(frozen=True, slots=True)
class Action:
    """Something that an admin can do."""

    name: str
    title: str
    parameters: tuple[Parameter, ...]
    words: str
    """What somebody does, with the arguments' names in braces, for the feed: "kills {service}/{replica}"."""
    run: Callable[[Mesh, str, Arguments], Awaitable[str]]
    """Called with the admin's name and the arguments. Raises ClusterError or CommandError."""
    timeout: float
    """Seconds that it may take."""
    disturbs: bool = False
    """Whether it stays until it is put back."""

    def told(self) -> dict[str, Any]:
        """Return the action for the page, as JSON's types."""
        return {"name": self.name, "title": self.title, "parameters": [p.told() for p in self.parameters]}

    def area(self, given: Arguments) -> str:
        """Return what no other action may use meanwhile: a service, or the action's own name."""
        return str(given.get("service") or self.name)


_ALL = (
    Action("kill", "Kill", (_SERVICE, _REPLICA), "kills {service}/{replica}", Mesh.kill, 300),
    Action("crash", "Crash", (_SERVICE, _REPLICA), "crashes {service}/{replica}", Mesh.crash, 60),
    Action("restart", "Restart", (_SERVICE,), "restarts {service}", Mesh.restart, 3600),
    Action("rotate", "Rotate certificates", (), "renews every certificate", Mesh.rotate, 900),
    Action(
        "pause", "Pause", (_SERVICE, _REPLICA, _FOR), "makes {service}/{replica} hang", Mesh.pause, 60, True
    ),
    Action(
        "scale",
        "Scale",
        (_SERVICE, Number("replicas", 0, MAX_REPLICAS, whole=True), _FOR),
        "scales {service} to {replicas} for now",
        Mesh.scale,
        300,
        True,
    ),
    Action(
        "fault",
        "Inject a fault",
        (
            _SERVICE,
            Number("replica", 0, 10_000, 0, whole=True),
            Name("method", optional=True),
            Choice("kind", ("delay", "error", "hang")),
            Number("delay_ms", 1, 60_000, 300),
            Choice("code", CODES),
            Number("share", 0.01, 1, 1),
            _FOR,
        ),
        "injects a fault into {service}: {kind}",
        Mesh.fault,
        60,
        True,
    ),
    Action(
        "load",
        "Make load",
        (Choice("scenario", SCENARIOS), Number("rps", 0.1, MAX_RPS, 10), _FOR),
        "starts a load: {rps:g} times a second {scenario}",
        Mesh.load,
        180,
        True,
    ),
)
ACTIONS: Mapping[str, Action] = {action.name: action for action in _ALL}
