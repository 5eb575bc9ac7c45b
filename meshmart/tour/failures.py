"""Describes failed calls: which code, at which replica, how many, and when. Pure."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from services.loadgen.report import Report, Sample

#: The most lines; the rest is counted.
MOST = 12


def failures(report: Report, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return a line for each code, method and replica of the calls that failed, the most frequent first.

    Args:
        report: The report of a load.
        names: The names of replicas, by address: `127.0.1.1:50051` -> `product/1`.
    """
    groups = defaultdict[tuple[str, str, str], list[Sample]](list)
    for sample in report.samples:
        if sample.code != "OK":
            where = names.get(sample.endpoint or "", sample.endpoint or "no replica")
            groups[sample.code, f"{sample.target}/{sample.method}", where].append(sample)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    begin = min((s.intended for s in report.samples), default=0.0)
    lines = [_line(*key, samples, begin) for key, samples in ordered[:MOST]]
    if rest := sum(len(samples) for _, samples in ordered[MOST:]):
        lines.append(f"and {rest} more")
    if report.dropped:
        lines.append(f"{report.dropped} not sent: too many were in flight")
    return tuple(lines)


def _line(code: str, method: str, where: str, samples: Sequence[Sample], begin: float) -> str:
    first = min(s.intended for s in samples) - begin
    last = max(s.ended for s in samples) - begin
    slowest = max(s.latency for s in samples)
    return (
        f"{code} {method} at {where}: {len(samples)}, from {first:.2f} s to {last:.2f} s after the first "
        f"call, the slowest in {slowest:.2f} s"
    )
