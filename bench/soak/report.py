"""What a run shows: the summary for a person and as JSON, and the plot."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from bench.soak.chart import Panel, Span, render
from bench.soak.run import Run
from bench.soak.sampler import lives, points
from bench.soak.slope import medians
from bench.soak.verdict import LONG_ENOUGH, around

_TITLES = {"rss": "Resident memory (MiB)", "fds": "Open file descriptors", "tasks": "asyncio tasks"}
#: The most points of a line, and the most failures that are listed.
_POINTS, _LISTED = 240, 40


def text(run: Run) -> str:
    """Return the summary for a person."""
    return "\n".join([*_journeys(run), *_disturbances(run), *_slopes(run), *_books(run), *_verdict(run)])


def _journeys(run: Run) -> Iterator[str]:
    failed = Counter(each.scenario for each in run.log.failed)
    yield "\njourneys     asked   failed"
    for scenario, asked in run.log.asked.items():
        yield f"  {scenario:<9} {asked:>7} {failed[scenario]:>8}"
    yield f"  {'all':<9} {run.log.asked.total():>7} {failed.total():>8}"
    for reason, count in run.verdict.excuses().items():
        yield f"  {count} excused: {reason}"
    for each in run.verdict.unexcused[:_LISTED]:
        beside = ", ".join(str(p.disturbance) for p in around(each, run.occurrences)) or "no disturbance"
        when = f"{each.began:.1f} to {each.ended:.1f} s"
        yield f"  BROKEN {when} {each.scenario}: {', '.join(each.calls)}; {beside}"


def _disturbances(run: Run) -> Iterator[str]:
    kinds = Counter(p.disturbance.kind for p in run.occurrences)
    yield f"\nstarved of CPU for {run.verdict.starved:.0%} of the time"
    yield f"{kinds.total()} disturbances: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())


def _slopes(run: Run) -> Iterator[str]:
    least = f"processes that lived at least {LONG_ENOUGH / 60:g} minutes then"
    yield f"\nslopes after {run.plan.warm:.0f} s (95 % interval), of {least}"
    for rise in run.verdict.rises:
        yield f"  {'BROKEN' if rise.broken else 'ok    ' if rise.judged else 'shown '} {rise}"
    if not run.verdict.rises:
        yield "  none: the run is too short"


def _books(run: Run) -> Iterator[str]:
    orders = ", ".join(f"{count} {status}" for status, count in run.books.get("orders", {}).items())
    yield f"\norders: {orders}; the books {'add up' if run.books.get('balanced') else 'do NOT add up'}"


def _verdict(run: Run) -> Iterator[str]:
    yield from (f"BROKEN {problem}" for problem in run.verdict.problems)
    yield "every bound was kept" if run.verdict.kept else "a bound was BROKEN"


def summary(run: Run) -> dict[str, Any]:
    """Return the summary as plain data."""
    return {
        "plan": vars(run.plan),
        "kept": run.verdict.kept,
        "asked": dict(run.log.asked),
        "failed": dict(Counter(each.scenario for each in run.log.failed)),
        "codes": dict(Counter(call for each in run.log.failed for call in each.calls)),
        "excused": dict(run.verdict.excuses()),
        "unexcused": [vars(each) for each in run.verdict.unexcused],
        "starved": round(run.verdict.starved, 3),
        "disturbances": dict(Counter(p.disturbance.kind for p in run.occurrences)),
        "slopes": [
            {
                "process": r.process,
                "figure": r.figure,
                "seconds": r.seconds,
                **vars(r.slope),
                "broken": r.broken,
            }
            for r in run.verdict.rises
        ],
        "books": run.books,
        "problems": run.verdict.problems,
    }


def plot(run: Run) -> str:
    """Return the plot."""
    shown = {name: life for (name, _), life in lives(run.samples).items() if name in run.wanted}
    panels = [_failures(run)]
    for figure, title in _TITLES.items():
        lines = {
            name: medians(found, _POINTS) for name, life in shown.items() if (found := points(life, figure))
        }
        panels.append(Panel(title, lines))
    spans = [Span(p.disturbance.kind, p.began, p.ended) for p in run.occurrences]
    title = (
        f"Soak: {run.plan.duration / 60:g} minutes, seed {run.plan.seed}, {run.plan.rate:g} journeys a second"
    )
    return render(title, run.plan.duration, spans, panels, run.plan.warm)


def _failures(run: Run) -> Panel:
    width = run.log.width
    failed = Counter(int(each.began / width) for each in run.log.failed)
    excused = Counter(int(each.began / width) for each, _ in run.verdict.excused)
    bins = sorted(run.log.bins)
    return Panel(
        f"Journeys failed in {width:.0f} s",
        {
            "failed": [((b + 0.5) * width, float(failed[b])) for b in bins],
            "of these excused": [((b + 0.5) * width, float(excused[b])) for b in bins],
        },
    )
