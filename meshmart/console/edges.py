"""Builds the view of the calls between services. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshmart.console.digest import About, Sums
from meshmart.console.model import EdgeView
from meshmart.console.series import Key
from meshmart.console.traffic import by_code, traffic
from meshmart.console.window import bound

if TYPE_CHECKING:
    from meshmart.console.observer import Watched

#: The most edges that are shown: those with the most calls.
MAX_EDGES = 1_000
#: An edge begins to fail at the first share of failed calls, and has recovered below the second.
FAILING, RECOVERED = 0.01, 0.001


def build(
    names: Sequence[str], watched: Collection["Watched"], failing: Collection[tuple[str, str]]
) -> tuple[EdgeView, ...]:
    """Return the edges of the call graph, sorted by their services.

    Args:
        names: The services of the cluster.
        watched: Its replicas.
        failing: The edges that failed so far.
    """
    targets = _Targets(provided(watched), frozenset(names))
    now: dict[tuple[str, str], Sums] = defaultdict(dict)
    total: dict[tuple[str, str], Sums] = defaultdict(dict)
    callers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in watched:
        for sums, said in ((now, each.digest.now), (total, each.digest.total)):
            for about, values in said.items():
                target = targets.of(about)
                if target is not None:
                    edge = (each.service, target)
                    _add(sums[edge], values)
                    callers[edge].add(each.name)
    found = [_edge(edge, now[edge], total[edge], len(callers[edge]), edge in failing) for edge in callers]
    busiest = sorted(found, key=lambda e: -e.traffic.calls)[:MAX_EDGES]
    return tuple(sorted(busiest, key=lambda e: (e.source, e.target)))


def _add(sums: Sums, values: Mapping[Key, float]) -> None:
    for key, value in values.items():
        sums[key] = sums.get(key, 0.0) + value


def provided(watched: Iterable["Watched"]) -> Mapping[str, str]:
    """Return which service provides a gRPC service, as the servers themselves say.

    A client's metrics name the gRPC service that it calls, not the target. One that several services provide
    cannot be told apart, and is left out.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for each in watched:
        for name in each.digest.provides:
            found[name].add(each.service)
    return {name: next(iter(services)) for name, services in found.items() if len(services) == 1}


@dataclass(frozen=True)
class _Targets:
    providers: Mapping[str, str]
    known: Collection[str]

    def of(self, about: About) -> str | None:
        """Return the service that a client's values are about, or None if it is none of the cluster's."""
        kind, name = about
        if kind == "provider":
            return self.providers.get(name)
        return name if name in self.known else None


def _edge(
    edge: tuple[str, str], now: Mapping[Key, float], total: Mapping[Key, float], callers: int, failed: bool
) -> EdgeView:
    buckets = {bound(key[1]): value for key, value in now.items() if key[0] == "call_le"}
    calls = traffic(by_code("called", now), by_code("called", total), buckets)
    share = calls.failing / calls.rate if calls.rate > 0 else 0.0
    return EdgeView(
        *edge,
        traffic=calls,
        callers=callers,
        retries=now.get(("retries",), 0.0),
        hedges=now.get(("hedges",), 0.0),
        budget_spent=int(total.get(("budget_spent",), 0)),
        budget_allowed=int(total.get(("budget_allowed",), 0)),
        budget_exhausted=now.get(("budget_exhausted",), 0.0),
        breaker_in_flight=int(total.get(("breaker_in_flight",), 0)),
        breaker_limit=int(total.get(("breaker_limit", "concurrent"), 0)),
        breaker_refused=now.get(("breaker_refused",), 0.0),
        waiting=int(total.get(("waiting",), 0)),
        failing=share >= (RECOVERED if failed else FAILING),
    )
