"""Which failed journeys and which slopes break a bound. Pure."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.soak.injector import Occurrence
from bench.soak.journeys import Failed
from bench.soak.sampler import FIGURES, Sample, lives, points
from bench.soak.schedule import Disturbance
from bench.soak.slope import Slope, slope

#: The most that a figure may rise per hour, in a process that is warm.
BOUNDS: Mapping[str, float] = {"rss": 8.0, "fds": 2.0, "tasks": 2.0}
#: Seconds that a process must have been sampled for after the warm-up, to have a slope at all.
LONG_ENOUGH = 300.0
#: Seconds that a run must last, and a process must live, for its slopes to be judged. Shorter ones are still
#: warming up: allocators and caches fill with each first rotation, restart of the database and kind of call.
JUDGED_FROM = 2400.0


@dataclass(frozen=True)
class Excuse:
    """Failures that a kind of disturbance may cause.

    The scenario `order`, which asks again until it has an answer, has no excuse in any disturbance.

    Attributes:
        kinds: The kinds of disturbance.
        codes: The codes with which a call may fail.
        reason: Why this is no defect.
        calls: The calls that may fail, such as `order/CreateOrder`; empty for all.
        own: Whether only a disturbance of the called service is an excuse.
        aftermath: Seconds after the end of the disturbance for which it is still an excuse.
    """

    kinds: frozenset[str]
    codes: frozenset[str]
    reason: str
    calls: frozenset[str] = frozenset()
    own: bool = False
    aftermath: float = 0.0

    def covers(self, failed: Failed, occurrence: Occurrence) -> bool:
        """Return whether the failure is due to this disturbance."""
        if failed.scenario == STUBBORN or occurrence.disturbance.kind not in self.kinds:
            return False
        beside = failed.began <= occurrence.ended + self.aftermath and failed.ended >= occurrence.began
        return beside and all(self._covers(call, occurrence) for call in failed.calls)

    def _covers(self, failed: str, occurrence: Occurrence) -> bool:
        call, _, code = failed.rpartition(" ")
        if code not in self.codes or (self.calls and call not in self.calls):
            return False
        return not self.own or call.partition("/")[0] == occurrence.disturbance.service


#: The scenario whose buyer repeats its order, with one key, until there is an answer.
STUBBORN = "order"
#: The disturbance by the machine: a spell in which a process got too little CPU to measure anything.
STARVED = "starved"
#: The share of a spell for which a process waits for a CPU, and the share of a run that may be starved.
WAITS, MOST_STARVED = 0.25, 0.25
#: What disturbances may break, the first that applies. Everything else breaks the bound.
EXCUSES = (
    Excuse(
        frozenset({"database"}),
        frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "HTTP_503", "HTTP_504"}),
        "everything reads or writes the database, and while it is away there is nobody else to ask",
        aftermath=5.0,
    ),
    Excuse(
        frozenset({"kill", "abort", "freeze", "hang"}),
        frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"}),
        "not idempotent, so the mesh may not repeat a call that a replica has seen: whoever makes it does, "
        f"with the same key, like the scenario {STUBBORN!r}",
        calls=frozenset({"order/CreateOrder", "chat/Chat", "user/RefreshToken"}),
        own=True,
    ),
    Excuse(
        frozenset({STARVED}),
        frozenset({"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "HTTP_429", "HTTP_504", "ReadTimeout"}),
        "not measured: this machine gave a process no CPU for more than a quarter of the time",
    ),
    Excuse(
        frozenset({"kill"}),
        frozenset({"RemoteProtocolError", "ReadError"}),
        "a request over HTTP that was at the killed storefront: a browser repeats it",
        calls=frozenset({"storefront/home", "storefront/product"}),
        own=True,
    ),
)


@dataclass(frozen=True)
class Rise:
    """The slope of one figure of one process. If it is not judged, the process is still warming up."""

    process: str
    figure: str
    seconds: float
    slope: Slope
    judged: bool = True

    @property
    def broken(self) -> bool:
        return self.judged and self.slope.breaks(BOUNDS[self.figure])

    def __str__(self) -> str:
        unit = f" {FIGURES[self.figure]}" if FIGURES[self.figure] else ""
        return f"{self.process} {self.figure}: {self.slope}{unit}, bound {BOUNDS[self.figure]:g}"


@dataclass
class Verdict:
    """The result of a run."""

    excused: list[tuple[Failed, Excuse]] = field(default_factory=list)
    unexcused: list[Failed] = field(default_factory=list)
    rises: list[Rise] = field(default_factory=list)
    starved: float = 0.0
    """The share of the run in which a process got too little CPU."""
    problems: list[str] = field(default_factory=list)
    """Other broken bounds, one line each."""

    @property
    def kept(self) -> bool:
        """Return whether every bound is kept."""
        return not self.unexcused and not self.problems and not any(rise.broken for rise in self.rises)

    def excuses(self) -> Counter[str]:
        """Return the number of excused failures by the reason."""
        return Counter(excuse.reason for _, excuse in self.excused)


def judge_journeys(verdict: Verdict, failed: Sequence[Failed], occurrences: Sequence[Occurrence]) -> None:
    """Sort the failed journeys into those that a disturbance excuses, and those that break the bound."""
    for each in failed:
        excuse = next((e for e in EXCUSES for p in occurrences if e.covers(each, p)), None)
        if excuse is None:
            verdict.unexcused.append(each)
        else:
            verdict.excused.append((each, excuse))


def judge_slopes(
    verdict: Verdict, samples: Sequence[Sample], warm: float, wanted: Sequence[str], judged: bool
) -> None:
    """Add the slope of each figure of each process that lived long enough.

    Args:
        samples: All samples.
        warm: The seconds after which a process is warm. Its earlier samples do not count.
        wanted: The processes that no disturbance ends.
        judged: Whether a slope, and a wanted process without one, can break a bound. In a short run not. The
            slope of a process that lived less than `JUDGED_FROM` cannot either: it is only shown.
    """
    for (process, _), whole in lives(samples).items():
        life = [s for s in whole if s.at >= whole[0].at + warm]
        if not life or life[-1].at - life[0].at < LONG_ENOUGH:
            continue
        lasting = judged and whole[-1].at - whole[0].at >= JUDGED_FROM
        for figure in FIGURES:
            if rise := slope(points(life, figure)):
                verdict.rises.append(Rise(process, figure, life[-1].at - life[0].at, rise, lasting))
    measured = {rise.process for rise in verdict.rises}
    if judged and (missing := [name for name in wanted if name not in measured]):
        verdict.problems.append(f"no slope of {', '.join(missing)}: they did not live long enough")
    for name in wanted:
        if len({s.pid for s in samples if s.process == name}) > 1:
            verdict.problems.append(f"{name} was restarted, although no disturbance ends it")


def starved_spells(samples: Sequence[Sample]) -> list[Occurrence]:
    """Return when a process waited for a CPU for too large a share of the time between two of its samples."""
    spells = []
    for (process, _), life in lives(samples).items():
        for before, after in itertools.pairwise(life):
            if after.waited - before.waited > WAITS * (after.at - before.at):
                spells.append(Occurrence(Disturbance(before.at, STARVED, how=process), before.at, after.at))
    return spells


def judge_starvation(verdict: Verdict, spells: Sequence[Occurrence], duration: float) -> None:
    """Add a problem if the run was starved for too long to say anything."""
    starved, end = 0.0, 0.0
    for spell in sorted(spells, key=lambda s: s.began):
        starved += max(0.0, spell.ended - max(end, spell.began))
        end = max(end, spell.ended)
    verdict.starved = starved / duration
    if verdict.starved > MOST_STARVED:
        verdict.problems.append(f"not measured: starved of CPU for {verdict.starved:.0%} of the time")


def around(failed: Failed, occurrences: Sequence[Occurrence], before: float = 15.0) -> list[Occurrence]:
    """Return the disturbances beside a failure: during it, or up to `before` seconds earlier."""
    return [p for p in occurrences if p.began <= failed.ended and p.ended + before >= failed.began]
