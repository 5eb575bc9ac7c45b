"""Looks up a target once: its addresses, or its SRV records and their addresses."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from grpcmesh.config import ResolverConfig
from grpcmesh.resolver import wire
from grpcmesh.resolver.address import Address
from grpcmesh.resolver.answers import MAX_ALIASES, Answer
from grpcmesh.resolver.asking import Asking, LookupFailedError
from grpcmesh.resolver.merge import Hosts, LastAnswers, Outcome, additional_hosts, usable_services
from grpcmesh.resolver.nameservers import Directory
from grpcmesh.resolver.wire import Question, Service

#: Seconds to wait for the other address family once one has been found. RFC 8305 calls it the resolution
#: delay; this one allows for a lost datagram.
FAMILY_DELAY = 0.5
#: The most SRV targets that are looked up at the same time, those that stay silent aside.
_PARALLEL = 8


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a look-up.

    Args:
        addresses: The addresses; empty if the name does not exist or has none.
        ttl: Seconds for which the result is valid; None if the answers do not say.
        result: `found`, `empty` or `nxdomain`.
        problem: Why a part of the result is an old answer or is missing; empty if neither is the case.
    """

    addresses: frozenset[Address]
    ttl: float | None = None
    result: str = "found"
    problem: str = ""


class Lookup(Protocol):
    """Makes one look-up. Raises LookupFailedError."""

    def __call__(self) -> Awaitable[Found]: ...


class DnsLookup:
    """Looks up the endpoints of one name by DNS.

    Args:
        config: Settings of the resolver.
        name: Fully qualified name with the trailing dot.
        port: The port of every endpoint. If None, that of the configuration or of SRV records.
    """

    def __init__(self, config: ResolverConfig, name: str, port: int | None = None) -> None:
        self._config, self._name = config, name
        self._port = port or config.port
        self._srv = config.kind == "srv" and port is None
        self.asking = Asking(Directory(config), config.try_interval)
        self._last = LastAnswers()
        self._asked: set[Question] = set()

    async def __call__(self) -> Found:
        until = asyncio.get_running_loop().time() + self._config.timeout
        self._asked.clear()
        found = await (self._services(until) if self._srv else self._addresses(until))
        self._last.keep(self._asked)
        return found

    async def _addresses(self, until: float) -> Found:
        hosts = await self._hosts(wire.encode_name(self._name), until)
        addresses = frozenset(Address(host, self._port) for host in hosts.addresses)
        result = "found" if addresses else "empty" if hosts.exists else "nxdomain"
        return Found(addresses, hosts.ttl, result, hosts.problem)

    async def _services(self, until: float) -> Found:
        """Look up SRV records and their targets' addresses, which may be in the additional section."""
        answer = await self._resolve(Question(wire.encode_name(f"_grpc._tcp.{self._name}"), wire.SRV), until)
        if not answer.exists:
            return Found(frozenset(), answer.ttl, "nxdomain")
        services = usable_services(answer.values)[: self._config.max_endpoints]
        targets = {s.target for s in services}
        known = {n: hosts for n, hosts in additional_hosts(answer.additional).items() if n in targets}
        wanted = sorted(targets - known.keys())
        gate = asyncio.Semaphore(_PARALLEL)

        async def look_up(target: bytes) -> Hosts | LookupFailedError:
            async with _place(gate, self._config.try_interval):
                try:
                    return await self._hosts(target, until)
                except LookupFailedError as e:
                    return self._last.recall(_questions(target), str(e)) or e

        looked_up = await asyncio.gather(*map(look_up, wanted))
        return _joined(answer, services, {**known, **dict(zip(wanted, looked_up, strict=True))})

    async def _hosts(self, name: bytes, until: float) -> Hosts:
        """Look up A and AAAA at the same time. Once one has addresses, wait `FAMILY_DELAY` for the other."""
        questions = _questions(name)
        self._asked.update(questions)
        tasks = [asyncio.create_task(_outcome(self._resolve(q, until))) for q in questions]
        try:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if pending:
                found = any(_has_values(task.result()) for task in done)
                await asyncio.wait(pending, timeout=FAMILY_DELAY if found else None)
        finally:
            late = [task.cancel() for task in tasks]
            await asyncio.gather(*tasks, return_exceptions=True)
        outcomes: dict[Question, Outcome] = {
            q: _too_late(q) if cancelled else task.result()
            for q, task, cancelled in zip(questions, tasks, late, strict=True)
        }
        return self._last.merge(outcomes)

    async def _resolve(self, question: Question, until: float) -> Answer:
        """Return the answer to a question. An alias that the answer does not resolve is looked up."""
        ttls: list[float] = []
        for _ in range(MAX_ALIASES):
            timeout = until - asyncio.get_running_loop().time()
            answer = await self.asking(question, timeout)
            ttls += [] if answer.ttl is None else [answer.ttl]
            if not answer.alias:
                return replace(answer, ttl=min(ttls, default=None))
            question = question._replace(name=answer.alias)
        raise LookupFailedError("error", f"{question}: more than {MAX_ALIASES} aliases in a row")


@contextlib.asynccontextmanager
async def _place(gate: asyncio.Semaphore, seconds: float) -> AsyncIterator[None]:
    """Hold a place for at most `seconds`, so that a silent target does not keep others from being asked."""
    await gate.acquire()
    held = [gate]

    def leave() -> None:
        if held:
            held.pop().release()

    timer = asyncio.get_running_loop().call_later(seconds, leave)
    try:
        yield
    finally:
        timer.cancel()
        leave()


def _questions(name: bytes) -> list[Question]:
    return [Question(name, kind) for kind in (wire.A, wire.AAAA)]


async def _outcome(work: Coroutine[Any, Any, Answer]) -> Outcome:
    try:
        return await work
    except LookupFailedError as e:
        return e


def _has_values(outcome: Outcome) -> bool:
    return isinstance(outcome, Answer) and bool(outcome.values)


def _too_late(question: Question) -> LookupFailedError:
    return LookupFailedError("timeout", f"{question}: no answer from DNS in time")


def _joined(
    answer: Answer, services: Iterable[Service], by_target: dict[bytes, Hosts | LookupFailedError]
) -> Found:
    """Return the endpoints of SRV records. A target that failed or does not exist loses only its own.

    Raises:
        LookupFailedError: There are no addresses, and a target failed.
    """
    addresses: set[Address] = set()
    for service in services:
        hosts = by_target[service.target]
        if isinstance(hosts, Hosts):
            addresses |= {Address(host, service.port) for host in hosts.addresses}
    good = [h for h in by_target.values() if isinstance(h, Hosts)]
    failures = [h for h in by_target.values() if not isinstance(h, Hosts)]
    if failures and not addresses:
        raise failures[0]
    problems = [*map(str, failures), *(h.problem for h in good if h.problem)]
    ttls = [t for t in (answer.ttl, *(h.ttl for h in good)) if t is not None]
    result = "found" if addresses else "empty"
    return Found(frozenset(addresses), min(ttls, default=None), result, "; ".join(problems[:3]))
