"""Joins the answers to a target's questions. An old answer replaces one that failed. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from grpcmesh.bad_values import bad_values
from grpcmesh.resolver import wire
from grpcmesh.resolver.address import Address
from grpcmesh.resolver.answers import Answer, usable_address
from grpcmesh.resolver.asking import LookupFailedError
from grpcmesh.resolver.wire import Question, Record, Service

Outcome = Answer | LookupFailedError


@dataclass(frozen=True, slots=True)
class Hosts:
    """The addresses of one name.

    Args:
        addresses: IP addresses as text.
        ttl: Seconds until they should be looked up again; None if DNS did not say.
        exists: Whether the name exists.
        problem: Why a part of this is an old answer; empty if none is.
    """

    addresses: frozenset[str]
    ttl: float | None = None
    exists: bool = True
    problem: str = ""


class LastAnswers:
    """Keeps the last answer to each question of a target."""

    def __init__(self) -> None:
        self._answers: dict[Question, Answer] = {}

    def merge(self, outcomes: Mapping[Question, Outcome]) -> Hosts:
        """Join the outcomes of the questions for one name's addresses, and remember the answers.

        Raises:
            LookupFailedError: All questions failed. Or one failed that was never answered before, and no
                other found an address or said that the name does not exist.
        """
        self._answers.update((q, o) for q, o in outcomes.items() if isinstance(o, Answer))
        failures = [o for o in outcomes.values() if isinstance(o, LookupFailedError)]
        answers = [self._answers[q] for q in outcomes if q in self._answers]
        hosts = _hosts(answers, str(failures[0]) if failures else "")
        unknown = not hosts.addresses and hosts.exists and len(answers) < len(outcomes)
        if len(failures) == len(outcomes) or unknown:
            raise failures[0]
        return hosts

    def recall(self, questions: Iterable[Question], problem: str) -> Hosts | None:
        """Return the last known addresses of a name whose look-up failed, or None if there are none.

        `problem`: why it failed.
        """
        hosts = _hosts([self._answers[q] for q in questions if q in self._answers], problem)
        return hosts if hosts.addresses else None

    def keep(self, questions: Iterable[Question]) -> None:
        """Forget the answers to all other questions."""
        wanted = set(questions)
        self._answers = {q: a for q, a in self._answers.items() if q in wanted}


def _hosts(answers: Iterable[Answer], problem: str = "") -> Hosts:
    answers = list(answers)
    # Of a family that has no addresses only the other's TTL counts.
    with_values = [a for a in answers if a.values] or answers
    ttls = [a.ttl for a in with_values if a.ttl is not None]
    addresses = usable(value for a in answers for value in a.values)
    exists = all(a.exists for a in answers) or bool(addresses)
    return Hosts(addresses, min(ttls, default=None), exists, problem)


def usable(packed: Iterable[bytes]) -> frozenset[str]:
    """Return the addresses as text. Unusable ones are counted and left out."""
    addresses = [usable_address(value) for value in packed]
    bad_values.count("dns_record", addresses.count(None))
    return frozenset(a for a in addresses if a is not None)


def usable_services(values: Iterable[Service]) -> list[Service]:
    """Return SRV records in a fixed order. Those without a port or a target are counted and left out.

    Priorities and weights are ignored, because the balancer spreads the calls.
    """
    services = sorted(set(values))
    good = [s for s in services if s.port and s.target != b"\0"]
    bad_values.count("dns_record", len(services) - len(good))
    return good


def additional_hosts(records: Iterable[Record]) -> dict[bytes, Hosts]:
    """Return the addresses in the additional section of an SRV answer, by name."""
    by_name: dict[bytes, list[Record]] = {}
    for record in records:
        if record.kind in (wire.A, wire.AAAA):
            by_name.setdefault(record.name, []).append(record)
    found = {
        name: Hosts(usable(r.value for r in rs), float(min(r.ttl for r in rs)))
        for name, rs in by_name.items()
    }
    return {name: hosts for name, hosts in found.items() if hosts.addresses}


def bounded(found: frozenset[Address], known: frozenset[Address], limit: int) -> frozenset[Address]:
    """Return at most `limit` addresses, and count those left out.

    Known addresses come first, so that the set does not change without need; the others in order.
    """
    if len(found) <= limit:
        return found
    bad_values.count("dns_excess", len(found) - limit)
    return frozenset([*sorted(found & known), *sorted(found - known)][:limit])
