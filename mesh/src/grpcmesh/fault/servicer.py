"""Serves mesh.fault.v1.FaultService: sets and clears the faults of this process, and crashes it."""

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from grpcmesh.call import Method, current_workload
from grpcmesh.errors import FieldViolation, InvalidArgument
from grpcmesh.fault import fault_pb2 as pb
from grpcmesh.fault.fault_pb2_grpc import FaultServiceServicer
from grpcmesh.fault.layer import FaultLayer
from grpcmesh.fault.rules import EVERY_METHOD, Fault, Rule
from grpcmesh.fault.wire import duration, fault_message

#: Exit status of a crash: the one that a shell reports for kill -9.
EX_KILLED = 137
#: The longest delay, duration and lease of a fault, in seconds.
LONGEST = 86_400.0
#: The most calls that a fault may delay at the same time.
MOST_AT_ONCE = 10_000

_CODES = frozenset(code.name for code in grpc.StatusCode) - {"OK"}

_log = logging.getLogger(__name__)


class FaultServicer(FaultServiceServicer):
    """Sets, lists and clears faults by RPC.

    Args:
        layer: The layer whose faults it controls.
        methods: Returns the methods for which faults may be set.
    """

    def __init__(self, layer: FaultLayer, methods: Callable[[], Iterable[Method]]) -> None:
        self._layer, self._faults, self._methods = layer, layer.faults, methods

    async def SetFault(self, request: pb.SetFaultRequest, context: Any) -> pb.SetFaultResponse:
        fault, lasts, lease = self._read(request)
        caller = str(current_workload())
        known = self._faults.rules.get(fault.method)
        before = self._faults.set(fault, lasts, caller, lease)
        if before is not None:
            self._layer.let_go([before])
        if self._faults.rules[fault.method] is not known:
            until = "until cleared" if lasts is None else f"for {lasts:g} s"
            until += "" if lease is None else f", leased for {lease:g} s"
            _log.warning("fault set by %s: %s: %s, %s", caller, fault.method, fault, until)
        return pb.SetFaultResponse()

    async def ListFaults(self, request: pb.ListFaultsRequest, context: Any) -> pb.ListFaultsResponse:
        self._faults.expire()
        return pb.ListFaultsResponse(faults=[self._active(rule) for rule in self._faults.rules.values()])

    async def ClearFaults(self, request: pb.ClearFaultsRequest, context: Any) -> pb.ClearFaultsResponse:
        cleared = self._faults.clear(request.method)
        self._layer.let_go(cleared)
        for rule in cleared:
            _log.warning("fault cleared by %s: %s: %s", current_workload(), rule.fault.method, rule.fault)
        return pb.ClearFaultsResponse(cleared=len(cleared))

    async def Crash(self, request: pb.CrashRequest, context: Any) -> pb.CrashResponse:
        os._exit(EX_KILLED)

    def _active(self, rule: Rule) -> pb.ActiveFault:
        remaining = self._faults.remaining(rule)
        return pb.ActiveFault(
            fault=fault_message(rule.fault),
            remaining=None if remaining is None else duration(remaining),
            hits=rule.hits,
            held=self._layer.held_by(rule),
            set_by=rule.set_by,
            leased=rule.leased,
        )

    def _read(self, request: pb.SetFaultRequest) -> tuple[Fault, float | None, float | None]:
        """Return the requested fault, its duration and its lease (s, or None).

        Raises:
            InvalidArgument: The request is wrong. The error names every wrong field.
        """
        asked = request.fault
        fault = Fault(
            method=asked.method,
            share=asked.share if asked.HasField("share") else 1.0,
            delay=_seconds(asked.delay),
            abort=asked.abort,
            concurrency=asked.concurrency,
        )
        lasts = _seconds(request.lasts) if request.HasField("lasts") else None
        lease = _seconds(request.lease) if request.HasField("lease") else None
        problems = (*self._problems(fault), *_wrong_times(lasts=lasts, lease=lease))
        wrong = [FieldViolation(name, problem) for name, problem in problems if problem]
        if wrong:
            raise InvalidArgument(wrong)
        return fault, lasts, lease

    def _problems(self, fault: Fault) -> Iterable[tuple[str, str]]:
        yield "fault.method", self._wrong_method(fault.method)
        yield "fault.share", "" if 0 <= fault.share <= 1 else "must be from 0 to 1"
        delay_is_good = 0 <= fault.delay <= LONGEST
        yield "fault.delay", "" if delay_is_good else f"must be from 0 to {LONGEST:g} s"
        code_is_good = not fault.abort or fault.abort in _CODES
        yield "fault.abort", "" if code_is_good else f"must be one of {', '.join(sorted(_CODES))}"
        yield "fault.concurrency", _wrong_concurrency(fault)
        yield "fault", "" if fault.delay or fault.abort else "neither delays nor aborts"

    def _wrong_method(self, pattern: str) -> str:
        known = sorted(method.full_name for method in self._methods())
        services = {f"{name.partition('/')[0]}/*" for name in known}
        if pattern == EVERY_METHOD or pattern in known or pattern in services:
            return ""
        return f"{pattern!r} is none of *, {', '.join([*sorted(services), *known])}"


def _wrong_concurrency(fault: Fault) -> str:
    if not 0 <= fault.concurrency <= MOST_AT_ONCE:
        return f"must be from 0 to {MOST_AT_ONCE}"
    return "limits delayed calls: set a delay, too" if fault.concurrency and not fault.delay else ""


def _wrong_times(**times: float | None) -> Iterable[tuple[str, str]]:
    for name, seconds in times.items():
        good = seconds is None or 0 < seconds <= LONGEST
        yield name, "" if good else f"must be above 0 and at most {LONGEST:g} s"


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
