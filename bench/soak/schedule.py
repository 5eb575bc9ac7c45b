"""The schedule of disturbances, drawn from a seed. Pure: the same arguments give the same schedule.

Two disturbances overlap only if neither takes away what makes the other harmless: a replica is not
killed while the other one of its service hangs, and a restart of the database has the shop for itself.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from local.catalog import SHOP

#: The replica of each service that no disturbance ends, so that its memory can be followed for the whole run.
SPARED = 1
#: Seconds without disturbances at the beginning and at the end.
CALM = 15.0
#: Seconds after a disturbance until what it disturbed may be disturbed again.
RECOVERY = 15.0
#: The services that speak HTTP, and so have no fault service.
WEB = frozenset(spec.name for spec in SHOP.values() if spec.web)
#: The kinds in which replicas start. One that starts while DNS is out knows no endpoints and no keys of the
#: token issuer, becomes ready all the same, and fails calls until DNS is back (docs/soak.md, limits).
STARTS = frozenset({"kill", "freeze", "scale"})
#: Stands for everything, in `Disturbance.tracks`.
EVERYTHING = "*"


@dataclass(frozen=True)
class Disturbance:
    """One disturbance.

    Attributes:
        at: Seconds since the start of the run.
        kind: A key of `KINDS`.
        seconds: How long it lasts; 0 if it is over at once.
        service: The service, if it concerns one.
        replica: The number of the replica, if it concerns one.
        how: What exactly happens, such as `immediate` or `servfail`.
    """

    at: float
    kind: str
    seconds: float = 0.0
    service: str = ""
    replica: int = 0
    how: str = ""

    @property
    def track(self) -> str:
        """Return what it disturbs: a service, DNS, the certificates, or `EVERYTHING`."""
        return EVERYTHING if self.kind == "database" else self.service or self.kind

    def excludes(self, other: "Disturbance") -> bool:
        """Return whether the two must not happen at the same time."""
        if EVERYTHING in (self.track, other.track) or self.track == other.track:
            return True
        kinds = {self.kind, other.kind}
        return "dns" in kinds and not kinds.isdisjoint(STARTS)

    def __str__(self) -> str:
        where = f"{self.service}/{self.replica}" if self.replica else self.service
        lasting = f"{self.seconds:.0f} s" if self.seconds else ""
        return " ".join(part for part in (self.kind, where, self.how, lasting) if part)


Replicas = Mapping[str, int]
"""The number of replicas by service."""

_Draw = Callable[[random.Random, Replicas], Disturbance]


def _service(rng: random.Random, replicas: Replicas, but: frozenset[str] = frozenset()) -> str:
    return rng.choice([name for name, n in sorted(replicas.items()) if n > SPARED and name not in but])


def _mortal(rng: random.Random, replicas: Replicas, kind: str, seconds: float) -> Disturbance:
    """Return a disturbance that hits a replica which may die of it."""
    service = _service(rng, replicas)
    return Disturbance(0, kind, seconds, service, rng.randint(SPARED + 1, replicas[service]))


def _any(rng: random.Random, replicas: Replicas, kind: str, how: str) -> Disturbance:
    """Return a fault, which any replica survives, the spared one included."""
    service = _service(rng, replicas, WEB)
    return Disturbance(0, kind, rng.uniform(5, 20), service, rng.randint(1, replicas[service]), how)


def _scale(rng: random.Random, replicas: Replicas) -> Disturbance:
    service = _service(rng, replicas)
    return Disturbance(0, "scale", rng.uniform(5, 30), service, how=f"{rng.choice((-1, 1)):+d}")


def _database(rng: random.Random, _: Replicas) -> Disturbance:
    return Disturbance(0, "database", rng.uniform(0, 5), how=rng.choice(("fast", "immediate")))


#: How each kind is drawn, and how often it comes in proportion to the others.
KINDS: Mapping[str, tuple[int, _Draw]] = {
    "kill": (5, lambda rng, of: _mortal(rng, of, "kill", 0)),
    "freeze": (2, lambda rng, of: _mortal(rng, of, "freeze", rng.uniform(1, 4))),
    "scale": (3, _scale),
    "slow": (3, lambda rng, of: _any(rng, of, "slow", f"{rng.uniform(0.05, 1.0):.2f}")),
    "abort": (3, lambda rng, of: _any(rng, of, "abort", f"{rng.uniform(0.1, 1.0):.2f}")),
    "hang": (2, lambda rng, of: _any(rng, of, "hang", "")),
    "rotate": (2, lambda rng, of: Disturbance(0, "rotate")),
    "dns": (
        3,
        lambda rng, of: Disturbance(0, "dns", rng.uniform(5, 30), how=rng.choice(("silent", "servfail"))),
    ),
    "database": (2, _database),
}


def schedule(seed: int, length: float, every: float, replicas: Replicas) -> list[Disturbance]:
    """Return the disturbances of a run, in the order of their times.

    Args:
        seed: Anything; the same seed gives the same schedule.
        length: The seconds of the run.
        every: The average number of seconds between two pieces.
        replicas: The number of replicas of each service.
    """
    rng, drawn, at = random.Random(seed), list[Disturbance](), CALM
    names, weights = list(KINDS), [weight for weight, _ in KINDS.values()]
    while (at := at + rng.uniform(0.2, 1.8) * every) < length - CALM:
        (kind,) = rng.choices(names, weights)
        disturbance = KINDS[kind][1](rng, replicas)
        placed = replace(disturbance, at=_free_at(disturbance, at, drawn))
        if placed.at + placed.seconds <= length - CALM:
            drawn.append(placed)
    return sorted(drawn, key=lambda disturbance: disturbance.at)


def _free_at(disturbance: Disturbance, at: float, drawn: Sequence[Disturbance]) -> float:
    """Return the earliest time from `at` on when nothing that it excludes has yet to recover."""
    return max([at, *(w.at + w.seconds + RECOVERY for w in drawn if w.excludes(disturbance))])
