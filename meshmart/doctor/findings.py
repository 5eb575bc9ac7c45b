"""Merges what the workloads have found: one line for each cause. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grpcmesh.commands.doctor.findings import Cause, Finding, listed, printable

#: The fields of a finding in the library's JSON.
_FIELDS = ("cause", "subject", "problem", "remedy")
#: The most characters of a field, and the most findings of one workload: they come from another process.
_LONGEST, _MOST = 1000, 1000


class UnreadableError(Exception):
    """Raised for output that is not the JSON of `python -m grpcmesh check --json`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the examination of one workload has printed."""

    workload: str
    findings: Sequence[Finding] = ()
    not_checked: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """A finding, and the workloads from which it was seen; none if the cluster itself tells it."""

    finding: Finding
    seen_from: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.finding} (seen from {listed(self.seen_from)})" if self.seen_from else str(self.finding)

    def as_dict(self) -> dict[str, str | list[str]]:
        """Return it as `--json` prints it."""
        fields: dict[str, str | list[str]] = {name: getattr(self.finding, name) for name in _FIELDS}
        return fields | {"seen_from": list(self.seen_from)}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found in a shop.

    Args:
        workloads: The replicas that were looked at.
        findings: What is wrong.
        denials: Calls that a policy has denied since its process started, to callers whose own calls were
            looked at. They are the policy at work, so they are no findings.
        not_checked: What could not be looked at, and why.
    """

    workloads: tuple[str, ...]
    findings: tuple[Seen, ...]
    denials: tuple[Seen, ...] = ()
    not_checked: tuple[str, ...] = ()


def parse(workload: str, text: str) -> Outcome:
    """Parse the output of `python -m grpcmesh check --json`.

    Raises:
        UnreadableError: it is something else.
    """
    try:
        told = json.loads(text)
        findings = [_finding(each) for each in told["findings"][:_MOST]]
        skipped = [printable(str(line), _LONGEST) for line in told["not_checked"][:_MOST]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise UnreadableError(f"its output is not that of the check: {printable(text, 100)!r}") from e
    return Outcome(workload, findings, skipped)


def merge(of_cluster: Iterable[Finding], outcomes: Sequence[Outcome]) -> Report:
    """Return the report on a shop.

    Args:
        of_cluster: What the cluster itself tells, such as a replica that is down.
        outcomes: What was seen from each workload.
    """
    seen: dict[Finding, list[str]] = {finding: [] for finding in of_cluster}
    skipped: dict[str, list[str]] = {}
    for outcome in outcomes:
        for finding in outcome.findings:
            seen.setdefault(finding, []).append(outcome.workload)
        for line in outcome.not_checked:
            skipped.setdefault(line, []).append(outcome.workload)
    merged = [Seen(finding, tuple(workloads)) for finding, workloads in seen.items()]
    return Report(
        tuple(outcome.workload for outcome in outcomes),
        tuple(each for each in merged if not is_own_denial(each.finding)),
        tuple(each for each in merged if is_own_denial(each.finding)),
        tuple(f"{line} (seen from {listed(workloads)})" for line, workloads in skipped.items()),
    )


def is_own_denial(finding: Finding) -> bool:
    """Return whether it is a call that the policy of the workload itself has denied.

    The calls that the shop makes are tried by their callers. What is left is strangers: the tour's intruder.
    """
    return finding.cause == Cause.POLICY_DENIES and finding.subject == "policy"


def pinned(finding: Finding) -> bool:
    """Return whether it is a client that is connected to one endpoint only."""
    return finding.cause == Cause.PINNED_CLIENTS


def _finding(told: Mapping[str, object]) -> Finding:
    return Finding(*(printable(str(told[name]), _LONGEST) for name in _FIELDS))
