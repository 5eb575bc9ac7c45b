"""Decides which endpoints are ejected, and when they return. Pure: the caller reports events and acts.

gRFC A50 (https://github.com/grpc/proposal/blob/master/A50-xds-outlier-detection.md) gives the sweeps by
success rate and failure percentage, the growing ejection time and the cap. Added to it: consecutive failures
and stalls, which eject between sweeps, and a probe before an endpoint returns.

There is no timer. A sweep is due at the first attempt that ends after its time; the end of an ejection, and a
stall, are noticed by the picks. Without calls nothing needs to be decided.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from grpcmesh.clock import Clock, Rng
from grpcmesh.outlier.record import Record, State
from grpcmesh.service_config import FailurePercentageEjection, OutlierDetection, SuccessRateEjection

#: The least number of unanswered attempts in a stall: a single slow call is none.
STALLED_ATTEMPTS = 3
#: A stall has to last at least this many times the longest answer of the last two intervals, so that a slow
#: target is not mistaken for one that has stopped answering.
_STALL_FACTOR = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an endpoint's state: it has left rotation, is being probed or has returned."""

    record: Record
    state: State
    #: Why, in a few words.
    cause: str
    #: Seconds that the ejection lasts, if it is one.
    duration: float = 0.0


class OutlierDetector:
    """Watches the endpoints of one target.

    Args:
        config: Thresholds and times.
        clock: Monotonic seconds.
        rng: Draws random numbers for the enforcement percentages.
    """

    def __init__(self, config: OutlierDetection, clock: Clock, rng: Rng) -> None:
        self._config, self._clock, self._rng = config, clock, rng
        #: The records of the ready endpoints, and of all endpoints. The latter are kept because an
        #: ejection outlasts a lost connection.
        self._records: list[Record] = []
        self._known: list[Record] = []
        self._sweep_at = clock() + config.interval
        #: Clock time at which the first ejection ends. Picks before it do not look at the records.
        self._return_at = float("inf")
        self._slowest = self._slowest_before = 0.0
        #: Number of ejections, by algorithm.
        self.ejections = dict.fromkeys(
            ("consecutive_failures", "success_rate", "failure_percentage", "stalled", "probe_failed"), 0
        )
        #: Ejections that the cap prevented.
        self.capped = 0

    def replace(self, ready: Iterable[Record], known: Iterable[Record]) -> None:
        """Replace the records of the ready endpoints, and those of all known endpoints.

        An endpoint that is no longer ready has lost its connection or reports that it is unhealthy.
        """
        before, self._records, self._known = self._records, list(ready), list(known)
        now = self._clock()
        for record in set(before) - set(self._records):
            record.lost(now)
        self._note_returns()

    @property
    def ejected(self) -> int:
        """Return the number of endpoints out of rotation now, including those being probed."""
        return sum(r.state is not State.ADMITTED for r in self._records)

    @property
    def slowest(self) -> float:
        """Return the latency in seconds of the slowest good answer in this interval and the last."""
        return max(self._slowest, self._slowest_before)

    def due(self) -> list[Change]:
        """End the ejections whose time is over, and return them. Reads the clock only if there are any."""
        if self._return_at == float("inf") or (now := self._clock()) < self._return_at:
            return []
        over = [r for r in self._known if r.state is State.EJECTED and r.returns_at <= now]
        for record in over:
            record.state, record.probe_under_way, record.probing_since = State.PROBING, False, now
        self._note_returns()
        return [Change(record, State.PROBING, "its ejection is over") for record in over]

    def next_probe(self, idempotent: bool) -> Record | None:
        """Return an endpoint that a call shall probe, or None.

        If a probe fails and the call cannot be retried, its caller gets the error. So a call that is not
        idempotent probes only an endpoint that has waited for a probe as long as a first ejection lasts.
        """
        now = self._clock()
        for record in self._records:
            if record.state is not State.PROBING or record.probe_under_way:
                continue
            if idempotent or now - record.probing_since >= self._config.base_ejection_time:
                return record
        return None

    def check(self, record: Record) -> Change | None:
        """Check a picked endpoint. If it has stalled, eject it and return that: then pick another one."""
        if record.in_flight < STALLED_ATTEMPTS or not self._config.stall_time:
            return None
        now = self._clock()
        return self._eject(record, "stalled", now) if self._stalled(record, now) else None

    def started(self, record: Record, unary: bool = True) -> None:
        """Handle the start of an attempt.

        Args:
            record: Record of the endpoint that it goes to.
            unary: Whether the call is unary. Other calls are ignored by stall detection, because a stream may
                be silent for long.
        """
        if record.state is State.PROBING:
            record.probe_under_way = True
        if not unary:
            return
        if record.in_flight < STALLED_ATTEMPTS:
            record.progress_at = self._clock()  # so many can wait for their answers: nothing is stalled yet
        record.in_flight += 1

    def ended(self, record: Record, ok: bool | None, latency: float, unary: bool = True) -> list[Change]:
        """Handle the end of an attempt. Return the changes that follow from it.

        Args:
            record: Record of the endpoint that it went to.
            ok: Whether the endpoint did well. None if unknown, as when the caller cancelled the call.
            latency: Seconds that the attempt took.
            unary: See `started`.
        """
        now = self._clock()
        if unary:
            record.in_flight = max(0, record.in_flight - 1)
            record.progress_at = now
        # Not compared with the end of the ejection: the pick that notices it is part of the probing call.
        probe = record.state is State.PROBING and now - latency > record.ejected_at
        if ok is None or (not ok and record.told_already(now - latency)):
            record.probe_under_way = record.probe_under_way and not probe
            return []
        changes: list[Change] = []
        if ok:
            record.successes += 1
            record.consecutive_failures = 0
            if unary and latency > self._slowest:
                self._slowest = latency
        else:
            record.failures += 1
            record.consecutive_failures += 1
        if probe or not ok:  # a good answer that is no probe changes nothing
            change = self._probed(record, ok, now) if probe else self._judge(record, now)
            changes = [change] if change is not None else []
        if now >= self._sweep_at:
            changes += self._sweep(now)
        return changes

    def _probed(self, record: Record, ok: bool, now: float) -> Change | None:
        if not ok:
            return self._eject(record, "probe_failed", now)
        record.state, record.probe_under_way, record.consecutive_failures = State.ADMITTED, False, 0
        return Change(record, State.ADMITTED, "its probe was answered")

    def _judge(self, record: Record, now: float) -> Change | None:
        limit = self._config.consecutive_failures
        if record.state is State.ADMITTED and limit and record.consecutive_failures >= limit:
            return self._eject(record, "consecutive_failures", now)
        return None

    def _stalled(self, record: Record, now: float) -> bool:
        if record.state is not State.ADMITTED:
            return False
        return now - record.progress_at >= max(self._config.stall_time, _STALL_FACTOR * self.slowest)

    def _sweep(self, now: float) -> list[Change]:
        """Run the periodic part of gRFC A50."""
        changes: list[Change] = []
        if self._config.success_rate_ejection is not None:
            changes += self._by_success_rate(self._config.success_rate_ejection, now)
        if self._config.failure_percentage_ejection is not None:
            changes += self._by_failure_percentage(self._config.failure_percentage_ejection, now)
        just_ejected = {id(change.record) for change in changes}
        for record in self._known:
            record.successes = record.failures = 0
            if record.state is State.ADMITTED and record.multiplier and id(record) not in just_ejected:
                record.multiplier -= 1
        self._slowest_before, self._slowest = self._slowest, 0.0
        self._sweep_at = now + self._config.interval
        return changes

    def _by_success_rate(self, config: SuccessRateEjection, now: float) -> list[Change]:
        judged = [r for r in self._known if r.volume and r.volume >= config.request_volume]
        if not judged or len(judged) < config.minimum_hosts:
            return []
        rates = [r.successes / r.volume for r in judged]
        lowest = statistics.fmean(rates) - statistics.pstdev(rates) * config.stdev_factor / 1000
        outliers = [r for r, rate in zip(judged, rates, strict=True) if rate < lowest]
        return self._enforce(outliers, config.enforcement_percentage, "success_rate", now)

    def _by_failure_percentage(self, config: FailurePercentageEjection, now: float) -> list[Change]:
        judged = [r for r in self._known if r.volume and r.volume >= config.request_volume]
        if not judged or len(judged) < config.minimum_hosts:
            return []
        outliers = [r for r in judged if 100 * r.failures / r.volume > config.threshold]
        return self._enforce(outliers, config.enforcement_percentage, "failure_percentage", now)

    def _enforce(self, outliers: list[Record], percentage: int, cause: str, now: float) -> list[Change]:
        changes = []
        for record in outliers:
            if record.state is not State.ADMITTED or self._rng.randrange(100) >= percentage:
                continue
            change = self._eject(record, cause, now)
            if change is None:
                break
            changes.append(change)
        return changes

    def _eject(self, record: Record, cause: str, now: float) -> Change | None:
        """Eject an endpoint, unless the cap forbids it."""
        if record.state is State.ADMITTED and not self._may_eject(record):
            self.capped += 1
            return None
        c = self._config
        record.multiplier += 1
        longest = max(c.base_ejection_time, c.max_ejection_time)
        duration = min(c.base_ejection_time * record.multiplier, longest)
        record.state, record.cause, record.probe_under_way = State.EJECTED, cause, False
        record.ejected_at, record.returns_at, record.consecutive_failures = now, now + duration, 0
        self.ejections[cause] += 1
        self._note_returns()
        return Change(record, State.EJECTED, cause.replace("_", " "), duration)

    def _may_eject(self, record: Record) -> bool:
        """Return whether the cap allows an ejection.

        One endpoint may always be ejected (gRFC A50), but never the last one in rotation.
        """
        others = [r for r in self._records if r is not record]
        ejected, count = sum(r.state is not State.ADMITTED for r in others), len(others) + 1
        return ejected < count - 1 and 100 * ejected < max(self._config.max_ejection_percent, 1) * count

    def _note_returns(self) -> None:
        self._return_at = min(
            (r.returns_at for r in self._known if r.state is State.EJECTED), default=float("inf")
        )
