"""The attempt layer that reports the end of attempts to the detector, and the methods for the balancer."""

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

_OK = grpc.StatusCode.OK
_DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
#: Codes that count as a failure of the endpoint. Other codes are answers that any endpoint would give. A
#: server that sheds load (RESOURCE_EXHAUSTED) works; ejecting it would send its load to the others.
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.UNIMPLEMENTED,
        # Only where the server says so, or resets the stream with it: the caller's own are left out.
        grpc.StatusCode.CANCELLED,
    }
)


class Outliers(AttemptLayer):
    """Outlier detection for one target.

    Args:
        target: Name of the target, for messages.
        config: Thresholds and times. If None, no endpoint is ejected.
        clock: Monotonic seconds.
        rng: Draws random numbers for the enforcement percentages.
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
        self._ready: list[Any] = []
        self._detector: OutlierDetector | None = None
        #: Numbers of ejections under earlier settings.
        self._ejections: dict[str, int] = {}
        self.configure(config)

    def configure(self, config: OutlierDetection | None) -> None:
        """Change the settings. Ejected endpoints return to rotation, as in gRFC A50."""
        if self._detector is not None:
            self._ejections = self._counts()
        self._records = {endpoint: Record(endpoint.address) for endpoint in self._records}
        self._detector = None
        if config is not None:
            self._detector = OutlierDetector(config, self._clock, self._rng)
            self._detector.replace(self._of(self._ready), self._records.values())
        self._look()
        self.on_change()

    # -- the balancer ----------------------------------------------------------------------------

    def replace(self, ready: Iterable[Any], known: Iterable[Any]) -> None:
        """Replace the ready and the known endpoints. An endpoint that stays keeps its record."""
        records = self._records
        self._records = {e: records.get(e) or Record(e.address) for e in known}
        self._ready = list(ready)
        if self._detector is not None:
            self._detector.replace(self._of(self._ready), self._records.values())
        self._look()

    def _of(self, endpoints: Iterable[Any]) -> list[Record]:
        return [self._records[endpoint] for endpoint in endpoints]

    def ejected(self, endpoint: Any) -> bool:
        """Return whether the endpoint is out of rotation, so that it only gets probes."""
        record = self._records.get(endpoint)
        return record is not None and record.state is not State.ADMITTED

    def probe(self, idempotent: bool) -> Any:
        """Return an endpoint that this call shall probe, or None.

        Args:
            idempotent: Whether the call may be tried again if the probe fails.
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
        """Return whether the endpoint has stopped answering. It is ejected then; pick another one."""
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
        """Return whether the endpoint of a failed attempt did well; None if the failure does not show it."""
        code = attempt.code
        if code is _DEADLINE_EXCEEDED:
            # A deadline shorter than good answers take speaks against the caller.
            return None if self._detector is None or latency < self._detector.slowest else False
        if attempt.local:
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
        told = "Endpoints ejected by outlier detection."
        ejected = GaugeMetricFamily("mesh_outlier_ejected", told, labels=["target"])
        told = "1 for an endpoint that outlier detection has ejected; others have no series."
        endpoint = GaugeMetricFamily("mesh_outlier_endpoint_ejected", told, labels=["target", "endpoint"])
        out = [r.name for r in self._records.values() if r.state is not State.ADMITTED]
        ejected.add_metric([target], len(out))
        for name in out:
            endpoint.add_metric([target, name], 1)
        yield ejected
        yield endpoint

    def state(self) -> dict[str, dict[str, Any]]:
        """Return the endpoints that are out of rotation, by address, and why, for the admin page."""
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
        """Update `_any_ejected` after a record has changed, so that picks need not search the records."""
        self._any_ejected = any(r.state is not State.ADMITTED for r in self._records.values())
