"""Looks from inside each workload of a shop, several at a time."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from grpcmesh.commands.doctor.findings import Finding
from local.errors import ClusterError
from meshmart.doctor.calls import Calls
from meshmart.doctor.findings import Outcome, Report, UnreadableError, merge, parse, pinned
from meshmart.errors import CommandError

#: The exit status of the library's check: nothing or something was found; above it, it could not look.
_FOUND = 1
#: The exit status for wrong settings.
_SETTINGS = 2
#: The workloads that are looked at side by side. Each costs a second of CPU for its imports.
_SIDE_BY_SIDE = 4
#: Seconds that a process may take to start and end, in addition to what it may spend on the network.
_START = 60.0
#: How the library's command begins each line about a setting. Python and gRPC may write others before it.
_PREFIX = "grpcmesh: "
#: The most characters of another program's error message.
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Workload:
    """One replica to look at.

    Args:
        name: `product/1`, or the name of its pod.
        service: The service that it is a replica of.
        number: Its number within the service.
        serves: Whether others call it over the mesh.
    """

    name: str
    service: str
    number: int
    serves: bool = True


@dataclass(frozen=True, slots=True)
class Survey:
    """What the cluster itself tells: the workloads that can be looked at, and what is wrong with others."""

    workloads: Sequence[Workload]
    findings: Sequence[Finding] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """What a program has printed, and its exit status."""

    status: int
    stdout: str
    stderr: str


class Shop(Protocol):
    """Port: runs programs inside the workloads of a shop."""

    async def survey(self) -> Survey:
        """Return the workloads. Raises ClusterError if there is no shop."""
        ...

    async def run(self, workload: Workload, arguments: Sequence[str]) -> Output:
        """Run `python ARGUMENTS` where the workload runs. Raises ClusterError if that cannot be done."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """What to look at.

    Args:
        services: The services from which to look; empty: all.
        timeout: Seconds that a target may take.
    """

    services: Sequence[str] = ()
    timeout: float = 10.0


class Examination:
    """Examines a shop.

    Args:
        shop: Where the programs run.
        calls: The calls of each service.
        request: What to look at.
    """

    def __init__(self, shop: Shop, calls: Mapping[str, Calls], request: Request) -> None:
        self._shop, self._calls, self._request = shop, calls, request
        self._places = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def report(self) -> Report:
        """Look from inside every workload.

        Raises:
            ClusterError: there is no shop.
            CommandError: it has none of the services that the request names.
        """
        survey = await self._shop.survey()
        workloads = self._chosen(survey.workloads)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._outcome(workload)) for workload in workloads]
        outcomes = [task.result() for task in tasks]
        for index, (workload, outcome) in enumerate(zip(workloads, outcomes, strict=True)):
            if any(map(pinned, outcome.findings)):
                outcomes[index] = await self._confirmed(workload, outcome)
        return merge(survey.findings, outcomes)

    def _chosen(self, workloads: Sequence[Workload]) -> list[Workload]:
        wanted, there = set(self._request.services), sorted({w.service for w in workloads})
        if unknown := sorted(wanted.difference(there)):
            raise CommandError(
                f"no replica of {', '.join(unknown)} can be looked at; there are {', '.join(there) or 'none'}"
            )
        return [w for w in workloads if not wanted or w.service in wanted]

    async def _confirmed(self, workload: Workload, outcome: Outcome) -> Outcome:
        """Return an outcome whose pinned clients are seen when this workload looks alone.

        Examinations that run side by side connect to one endpoint after the other, and see each other do it.
        """
        alone = await self._outcome(workload)
        kept = [f for f in outcome.findings if not pinned(f) or f in alone.findings]
        return dataclasses.replace(outcome, findings=kept)

    async def _outcome(self, workload: Workload) -> Outcome:
        async with self._places:
            try:
                async with asyncio.timeout(self._request.timeout + _START):
                    output = await self._shop.run(workload, self._arguments(workload))
            except TimeoutError:
                return _unexamined(
                    workload, f"the check did not end within {self._request.timeout + _START:g} s"
                )
            except ClusterError as e:
                return _unexamined(workload, str(e))
        return _read(workload, output)

    def _arguments(self, workload: Workload) -> list[str]:
        calls = self._calls.get(workload.service, Calls())
        methods = [word for method in calls.methods for word in ("--method", method)]
        role = () if workload.serves else ("--client",)
        timeout = f"{self._request.timeout:g}"
        check = ("-m", "grpcmesh", "check", "--json", "--timeout", timeout)
        return [*check, *role, *methods, "--", *calls.targets]


def _read(workload: Workload, output: Output) -> Outcome:
    last = (output.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if output.status == _SETTINGS:
        remedy = (
            "correct the variables MESH_* of this workload (`python -m grpcmesh config` in it lists them)"
        )
        lines = output.stderr.splitlines()
        own = [line for line in lines if line.startswith(_PREFIX)] or lines
        wrong = " ".join(" ".join(own).split())[:_LONGEST]
        return Outcome(workload.name, [Finding.of("settings_invalid", workload.name, wrong, remedy)])
    if not (0 <= output.status <= _FOUND and output.stdout.strip()):
        return _unexamined(workload, f"the check ended with status {output.status}: {last[:_LONGEST]}")
    try:
        return parse(workload.name, output.stdout)
    except UnreadableError as e:
        return _unexamined(workload, str(e))


def _unexamined(workload: Workload, problem: str) -> Outcome:
    remedy = "see that Python and grpcmesh run there, and that you may exec into it (`pods/exec`)"
    return Outcome(workload.name, [Finding.of("not_examined", workload.name, problem, remedy)])
