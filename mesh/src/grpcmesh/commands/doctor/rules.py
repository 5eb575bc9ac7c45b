"""Turns facts into findings. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from grpcmesh.commands.doctor.facts import (
    Endpoint,
    Facts,
    KeyProblem,
    NameLookup,
    OwnCertificate,
    Process,
    Target,
)
from grpcmesh.commands.doctor.findings import (
    CERTIFICATE_REMEDIES,
    KEY_REMEDIES,
    REMEDIES,
    SERVER_REMEDIES,
    SOCKET_REMEDY,
    Cause,
    Finding,
    listed,
)
from grpcmesh.identity.fields import utc_of

#: Share of a certificate's validity that is left when it is about to expire. cert-manager renews at a third.
EXPIRING = 0.2
#: Seconds of clock skew that are tolerated. A server's gRPC library tells its time to a few seconds only.
SKEW = 30.0
_UNFINISHED = "the examination did not end in time"

_V = TypeVar("_V")


def findings(facts: Facts) -> list[Finding]:
    """Return everything that is wrong, first what concerns this workload itself."""
    own = facts.certificate
    return [
        *(_own_certificate(own, facts.now) if own else ()),
        *(_policy(facts.policy) if facts.policy else ()),
        *(_process(facts.process, facts.keys) if facts.process else ()),
        *_keys(facts.keys),
        *(_exporter(*facts.exporter) if facts.exporter else ()),
        *(found for target in facts.targets for found in _target(target, own)),
        *_unknown_methods(facts.targets, facts.asked),
        *(_found(Cause.TOO_SLOW, target, _UNFINISHED) for target in facts.unfinished),
    ]


def _found(cause: Cause, subject: str, problem: str) -> Finding:
    return Finding.of(cause, subject, problem, REMEDIES[cause])


def _own_certificate(own: OwnCertificate, now: float) -> Iterator[Finding]:
    if own.missing:
        yield _found(Cause.CERTIFICATE_MISSING, "certificate", f"{own.missing} does not exist")
        return
    for problem in own.problems:
        remedy = SOCKET_REMEDY if own.from_socket else CERTIFICATE_REMEDIES[problem.cause]
        yield Finding.of(f"certificate_{problem.cause}", "certificate", f"{own.directory}: {problem}", remedy)
    left = own.ends - now
    if not own.problems and left < EXPIRING * (own.ends - own.begins):
        text = f"{own.directory}: expires at {utc_of(own.ends)}, in {_duration(left)}, and is not renewed yet"
        yield _found(Cause.CERTIFICATE_EXPIRING, "certificate", text)


def _policy(problem: str) -> Iterator[Finding]:
    yield _found(Cause.POLICY_UNUSABLE, "policy", problem)


def _keys(problems: Iterable[KeyProblem]) -> Iterator[Finding]:
    for problem in problems:
        text = f"tokens of the issuer {problem.issuer} cannot be verified: {problem.text}"
        remedy = KEY_REMEDIES.get(problem.cause, REMEDIES[Cause.TOKENS_UNVERIFIABLE])
        yield Finding.of(Cause.TOKENS_UNVERIFIABLE, "tokens", text, remedy)


def _process(process: Process, problems: Sequence[KeyProblem]) -> Iterator[Finding]:
    for (caller, method), count in sorted(process.denials.items()):
        text = f"{caller} was denied {method} (calls since this process started: {count})"
        yield _found(Cause.POLICY_DENIES, "policy", text)
    if problems:
        return  # they say what the numbers of the process say, and why
    if process.keys == 0 and process.failed_fetches:
        text = (
            f"no user's token can be verified: all {process.failed_fetches} fetches of the keys have failed"
        )
        yield _found(Cause.TOKENS_UNVERIFIABLE, "tokens", text)
    elif process.keys == 0 and process.users:
        text = "the policy asks for users, and the server has no keys to verify their tokens"
        yield _found(Cause.TOKENS_UNVERIFIABLE, "tokens", text)


def _exporter(endpoint: str, problem: str) -> Iterator[Finding]:
    yield _found(Cause.EXPORTER_UNREACHABLE, "exporter", f"{endpoint} {problem}")


def _target(target: Target, own: OwnCertificate | None) -> Iterator[Finding]:
    name = target.target
    yield from _name(name, target.lookup)
    yield from _ports(name, target.endpoints)
    yield from _handshakes(name, target.endpoints, own)
    yield from _answers(name, target.endpoints)
    yield from _pinned(target)


def _name(target: str, lookup: NameLookup) -> Iterator[Finding]:
    name = lookup.name.rstrip(".")
    if lookup.result == "nxdomain":
        text = f"{name} does not exist in DNS (Kubernetes says so, too, if none of its pods is ready)"
        yield _found(Cause.NAME_NOT_FOUND, target, text)
    elif lookup.result == "empty":
        yield _found(Cause.NO_ADDRESSES, target, f"{name} exists in DNS, but has no addresses")
    elif lookup.result == "failed":
        yield _found(Cause.DNS_UNREACHABLE, target, lookup.error)
    elif lookup.cluster_ip:
        text = f"{name} is not headless: its only address, {lookup.cluster_ip}, is a cluster IP: no balancing"
        yield _found(Cause.NOT_HEADLESS, target, text)


def _ports(target: str, endpoints: Iterable[Endpoint]) -> Iterator[Finding]:
    for closed, addresses in _grouped((e.address, e.closed) for e in endpoints):
        yield _found(Cause.PORT_CLOSED, target, f"{listed(addresses)} {closed}")


def _handshakes(target: str, endpoints: Iterable[Endpoint], own: OwnCertificate | None) -> Iterator[Finding]:
    shaken = [(e.address, e.handshake) for e in endpoints if e.handshake is not None]
    for (cause, text), addresses in _grouped((a, (h.cause, h.text)) for a, h in shaken if h.cause):
        remedy = SERVER_REMEDIES[cause] if cause else ""
        yield Finding.of(f"server_certificate_{cause}", target, f"{listed(addresses)}: {text}", remedy)
    refusing = [address for address, handshake in shaken if handshake.refused]
    if refusing and own and not own.problems:  # a bad certificate is refused for what is wrong with it
        text = (
            f"{listed(refusing)} refused our certificate ({own.workload}), which is valid here: "
            f"its bundle lacks our issuer {own.issuer!r}, or its clock is wrong"
        )
        yield _found(Cause.ISSUER_NOT_IN_PEERS_BUNDLE, target, text)


def _answers(target: str, endpoints: Iterable[Endpoint]) -> Iterator[Finding]:
    answered = [(e.address, e.answers) for e in endpoints if e.answers is not None]
    for error, addresses in _grouped((a, answers.error) for a, answers in answered):
        yield _found(Cause.CALL_REFUSED, target, f"{listed(addresses)} does not tell its health: {error}")
    for names, addresses in _grouped((a, answers.not_serving) for a, answers in answered):
        what = "the whole process" if "" in names else listed(names)
        text = f"{listed(addresses)} says NOT_SERVING of {what}, and gets no calls for it"
        yield _found(Cause.NOT_SERVING, target, text)
    for denied, addresses in _grouped((a, tuple(answers.denied.items())) for a, answers in answered):
        for method, details in denied:
            text = f"{listed(addresses)} denies us {method}: {details}"
            yield _found(Cause.POLICY_DENIES, target, text)
    for address, answers in answered:
        yield from _skew(target, address, answers.ahead)


def _unknown_methods(targets: Iterable[Target], asked: Mapping[str, Collection[str]]) -> Iterator[Finding]:
    """Find methods that no target serves that was asked for them.

    Nothing is said of a method that may be that of a target whose endpoints did not answer.
    """
    answered = {
        t.target: [(e.address, e.answers) for e in t.endpoints if e.answers and not e.answers.error]
        for t in targets
    }
    for target, answers in answered.items():
        for method in sorted({method for _, a in answers for method in a.unknown}):
            others = [answered.get(name) for name in asked if name != target and method in asked[name]]
            if all(other and all(method in a.unknown for _, a in other) for other in others):
                places = [address for address, a in answers if method in a.unknown]
                yield _found(Cause.METHOD_UNKNOWN, target, f"{listed(places)} does not serve {method}")


def _skew(target: str, address: str, ahead: float | None) -> Iterator[Finding]:
    if ahead is not None and abs(ahead) > SKEW:
        side = "ahead of" if ahead > 0 else "behind"
        text = f"the clock of {address} is {_duration(abs(ahead))} {side} ours"
        yield _found(Cause.CLOCK_SKEW, target, text)


def _pinned(target: Target) -> Iterator[Finding]:
    """Find callers that are connected to one of several endpoints. Members of the mesh connect to all."""
    seen = [
        (e.address, e.answers.peers) for e in target.endpoints if e.answers and e.answers.peers is not None
    ]
    if target.left_out or len(seen) < len(target.endpoints) or len(seen) < 2:
        return
    for peer in sorted(frozenset[str]().union(*(peers for _, peers in seen))):
        places = [address for address, peers in seen if peer in peers]
        if len(places) == 1:
            text = (
                f"{peer} is connected to {places[0]} only, of {len(seen)} endpoints: all its calls go there"
            )
            yield _found(Cause.PINNED_CLIENTS, target.target, text)


def _grouped(pairs: Iterable[tuple[str, _V]]) -> Iterator[tuple[_V, list[str]]]:
    """Yield each true value, with the addresses of the endpoints that have it."""
    groups: dict[_V, list[str]] = {}
    for address, value in pairs:
        if value:
            groups.setdefault(value, []).append(address)
    yield from groups.items()


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
