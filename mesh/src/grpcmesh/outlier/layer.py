"""The attempt layer that tells the detector how attempts end, and the side of it that the balancer asks."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.call import Attempt, AttemptLayer, Kind
from grpcmesh.clock import Clock, Rng
from grpcmesh.outlier.detector import STALLED_ATTEMPTS, Change, OutlierDetector
from grpcmesh.outlier.record import Record, State
from grpcmesh.service_config import OutlierDetection

_log = logging.getLogger(__name__)

_OK, _CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED
_DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
#: Codes that speak against the endpoint. Others are answers: what they say no to, any endpoint would. And a
#: server that sheds load (RESOURCE_EXHAUSTED) works: to eject it would send its load to the others.
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


class Outliers(AttemptLayer):
    """Outlier detection for one target.

    Args:
        config: None: nothing is ejected.
        on_change: Called when an endpoint leaves rotation or returns to it.
    """

    def __init__(
        self,
        target: str,
        config: OutlierDetection | None,
        clock: Clock,
        rng: Rng,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._target, self._clock, self._rng, self.on_change = target, clock, rng, on_change
        self._records: dict[Any, Record] = {}
        self._detector: OutlierDetector | None = None
        #: Kept over changes of the settings.
        self._ejections: dict[str, int] = {}
        self.configure(config)

    def configure(self, config: OutlierDetection | None) -> None:
        """Take new settings. What was ejected returns, as gRFC A50 has it."""
        if self._detector is not None:
            self._ejections = self._counts()
        self._records = {endpoint: Record(endpoint.address) for endpoint in self._records}
        self._detector = None
        if config is not None:
            self._detector = OutlierDetector(config, self._clock, self._rng)
            self._detector.replace(self._records.values())
        self._look()
        self.on_change()

    # -- the balancer ----------------------------------------------------------------------------

    def replace(self, endpoints: Iterable[Any]) -> None:
        """These endpoints are ready. One that stays keeps its record."""
        known = self._records
        self._records = {e: known.get(e) or Record(e.address) for e in endpoints}
        if self._detector is not None:
            self._detector.replace(self._records.values())
        self._look()

    def ejected(self, endpoint: Any) -> bool:
        """Whether no call goes to the endpoint, but for a probe."""
        record = self._records.get(endpoint)
        return record is not None and record.state is not State.ADMITTED

    def probe(self, idempotent: bool) -> Any:
        """Return an endpoint that this call shall probe, or None.

        Args:
            idempotent: Whether the call may be tried again where the probe fails.
        """
        detector = self._detector
        if detector is None or not self._any_ejected:
            return None
        for change in detector.due():
            self._tell(change)
        record = detector.next_probe(idempotent)
        if record is None:
            return None
        return next(endpoint for endpoint, r in self._records.items() if r is record)

    def stalled(self, endpoint: Any) -> bool:
        """Whether the endpoint has stopped answering: it is ejected now, and another one is to be picked."""
        record, detector = self._records.get(endpoint), self._detector
        if record is None or detector is None or record.in_flight < STALLED_ATTEMPTS:
            return False
        change = detector.check(record)
        if change is not None:
            self._tell(change)
        return change is not None

    # -- the attempts ----------------------------------------------------------------------------

    def on_start(self, attempt: Attempt) -> None:
        record = self._records.get(attempt.endpoint)
        if record is not None and self._detector is not None:
            self._detector.started(record, attempt.call.method.kind is Kind.UNARY)

    def on_end(self, attempt: Attempt) -> None:
        record, detector = self._records.get(attempt.endpoint), self._detector
        if record is None or detector is None:
            return
        unary, latency = attempt.call.method.kind is Kind.UNARY, attempt.ended - attempt.started
        verdict = True if attempt.code is _OK else self._verdict(attempt, latency)
        for change in detector.ended(record, verdict, latency, unary):
            self._tell(change)

    def _verdict(self, attempt: Attempt, latency: float) -> bool | None:
        """Whether the endpoint of a failed attempt did well; None where the end says nothing of it."""
        code = attempt.code
        if code is _DEADLINE_EXCEEDED:
            # A deadline shorter than good answers take speaks against the caller.
            return None if self._detector is None or latency < self._detector.slowest else False
        if code is _CANCELLED or attempt.local:
            return None
        return code not in _FAULTS

    def metrics(self, target: str) -> Iterable[Metric]:
        told = "Endpoints that left rotation because of their answers, by what found them."
        ejections = CounterMetricFamily("mesh_outlier_ejections", told, labels=["target", "cause"])
        for cause, count in self._counts().items():
            ejections.add_metric([target, cause], count)
        yield ejections
        told = "Ejections that only the cap on the share ejected forbade."
        capped = CounterMetricFamily("mesh_outlier_ejections_capped", told, labels=["target"])
        capped.add_metric([target], self._detector.capped if self._detector else 0)
        yield capped
        told = "Endpoints that are out of rotation because of their answers."
        ejected = GaugeMetricFamily("mesh_outlier_ejected", told, labels=["target"])
        ejected.add_metric([target], sum(r.state is not State.ADMITTED for r in self._records.values()))
        yield ejected

    def state(self) -> dict[str, dict[str, Any]]:
        """What the admin page shows, by address: those that are not admitted, and why."""
        return {
            r.name: {"state": r.state.value, "cause": r.cause, "returns_at": r.returns_at}
            for r in self._records.values()
            if r.state is not State.ADMITTED
        }

    def _counts(self) -> dict[str, int]:
        now = self._detector.ejections if self._detector else {}
        return {
            cause: self._ejections.get(cause, 0) + now.get(cause, 0) for cause in {*self._ejections, *now}
        }

    def _tell(self, change: Change) -> None:
        name, target = change.record.name, self._target
        if change.state is State.EJECTED:
            _log.warning("ejected %s of %s for %.0f s: %s", name, target, change.duration, change.cause)
        elif change.state is State.ADMITTED:
            _log.info("readmitted %s of %s: %s", name, target, change.cause)
        self._look()
        self.on_change()

    def _look(self) -> None:
        """A record has changed. A pick asks only whether any endpoint is out: it costs the same for 300."""
        self._any_ejected = any(r.state is not State.ADMITTED for r in self._records.values())
