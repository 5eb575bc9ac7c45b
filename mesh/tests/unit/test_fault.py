"""Which calls match which fault, and what the layer does to them, in virtual time."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import pytest

from grpcmesh import status
from grpcmesh.call import Kind, Method, ServerCall
from grpcmesh.errors import Injected, InvalidArgument, ResourceExhausted, Unavailable
from grpcmesh.fault import Fault, FaultLayer, Faults, FaultServicer, TooManyFaults
from grpcmesh.fault import fault_pb2 as pb
from grpcmesh.fault import layer as layer_module
from grpcmesh.fault.rules import MOST_FAULTS
from grpcmesh.testing.clock import VirtualClock, run_in_virtual_time
from tests.unit.fakes import call, samples


def method(name: str) -> Method:
    return Method.parse(f"/{name}", Kind.UNARY)


BUY, SELL, LOOK = method("shop.Shop/Buy"), method("shop.Shop/Sell"), method("shop.Window/Look")


class Set:
    """A set of faults in virtual time."""

    def __init__(self, *faults: Fault) -> None:
        self.clock = VirtualClock()
        self.faults = Faults(self.clock, random.Random(7))
        for fault in faults:
            self.faults.set(fault)

    def met(self, by: Method) -> str:
        """Return the pattern of the fault that matches a call, or an empty string."""
        rule = self.faults.decide(by)
        return rule.fault.method if rule else ""


def test_the_narrowest_pattern_decides() -> None:
    s = Set(*(Fault(pattern, abort="UNAVAILABLE") for pattern in ("*", "shop.Shop/*", "shop.Shop/Buy")))
    assert [s.met(m) for m in (BUY, SELL, LOOK)] == ["shop.Shop/Buy", "shop.Shop/*", "*"]
    s.faults.clear("*")
    assert [s.met(m) for m in (BUY, SELL, LOOK)] == ["shop.Shop/Buy", "shop.Shop/*", ""]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_calls_meets_it_and_they_are_counted(share: float) -> None:
    s = Set(Fault("*", share, abort="UNAVAILABLE"))
    met = sum(bool(s.met(BUY)) for _ in range(2000))
    assert met == s.faults.rules["*"].hits
    assert met == pytest.approx(2000 * share, abs=60 if 0 < share < 1 else 0)


def test_a_call_that_the_narrow_fault_spares_does_not_meet_the_wide_one() -> None:
    s = Set(Fault("*", abort="UNAVAILABLE"), Fault("shop.Shop/Buy", 0.0, abort="INTERNAL"))
    assert s.met(BUY) == ""


def test_a_fault_ends_by_itself() -> None:
    s = Set()
    s.faults.set(Fault("*", delay=60), lasts=10)
    rule = s.faults.rules["*"]
    s.clock.advance(9)
    until = s.faults.hold_until(rule)
    assert (s.met(BUY), s.faults.remaining(rule), s.faults.holds(rule, until)) == ("*", 1.0, 1.0)
    s.clock.advance(1)
    assert (s.met(BUY), s.faults.is_set(rule), s.faults.rules) == ("", False, {})


def test_the_wide_fault_is_met_once_the_narrow_one_has_ended() -> None:
    s = Set(Fault("*", abort="UNAVAILABLE"))
    s.faults.set(Fault("shop.Shop/Buy", abort="INTERNAL"), lasts=1)
    s.clock.advance(2)
    assert s.met(BUY) == "*"


def test_one_that_is_set_again_takes_the_place_of_the_first() -> None:
    s = Set(Fault("*", delay=1))
    first = s.faults.rules["*"]
    assert s.faults.set(Fault("*", delay=2)) is first
    assert not s.faults.is_set(first)
    assert [rule.fault.delay for rule in s.faults.clear()] == [2]
    assert s.faults.clear() == []


def test_there_are_so_many_and_no_more() -> None:
    s = Set(*(Fault(f"shop.Shop/M{n}", delay=1) for n in range(MOST_FAULTS)))
    s.faults.set(Fault("shop.Shop/M0", delay=2))
    with pytest.raises(TooManyFaults):
        s.faults.set(Fault("*", delay=1))
    s.clock.advance(1)
    s.faults.clear("shop.Shop/M0")
    s.faults.set(Fault("*", delay=1))


class Injecting:
    """A fault layer in the time of the running loop."""

    def __init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.faults = Faults(self.clock, random.Random(7))
        self.layer = FaultLayer(self.faults)

    async def serve(self) -> float:
        """Serve a call, and return the seconds for which it was held."""
        began, served = self.clock(), call()
        self.layer.on_start(served)
        if served.hold is not None:
            await served.hold()
        return self.clock() - began

    def start(self) -> "asyncio.Task[float]":
        return asyncio.create_task(self.serve())


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        run_in_virtual_time(test())

    run.__name__ = test.__name__
    return run


@in_virtual_time
async def test_without_a_fault_nothing_happens_to_a_call() -> None:
    i = Injecting()
    served = call()
    i.layer.on_start(served)
    assert served.hold is None
    assert samples(i.layer) == {"mesh_faults_active": 0, "mesh_faults_held": 0}


@in_virtual_time
async def test_a_delay_holds_the_call_and_then_lets_it_in() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=0.3))
    assert await i.serve() == pytest.approx(0.3)
    assert samples(i.layer)["mesh_faults_injected_total{kind=delay,method=shop.Shop/Buy}"] == 1


@in_virtual_time
async def test_calls_beyond_the_concurrency_wait_for_their_turn() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=1, concurrency=2))
    held = [i.start() for _ in range(5)]
    assert await asyncio.gather(*held) == pytest.approx([1, 1, 2, 2, 3])


@in_virtual_time
async def test_a_call_that_gives_up_leaves_its_turn_to_the_next() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=1, concurrency=1))
    first, second, third = held = [i.start() for _ in range(3)]
    await asyncio.sleep(0.5)
    second.cancel()
    await asyncio.wait(held)
    assert (await first, second.cancelled(), await third) == (pytest.approx(1), True, pytest.approx(2))


@in_virtual_time
async def test_calls_that_wait_for_their_turn_are_served_once_the_fault_is_cleared_or_over() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=3600, concurrency=1))
    held = [i.start() for _ in range(3)]
    await asyncio.sleep(5)
    assert samples(i.layer)["mesh_faults_held"] == 3
    i.layer.let_go(i.faults.clear())
    assert await asyncio.gather(*held) == pytest.approx([5, 5, 5])
    i.faults.set(Fault(delay=3600, concurrency=1), set_by="client", lease=30)
    assert await asyncio.gather(*(i.start() for _ in range(3))) == pytest.approx([30, 30, 30])


@in_virtual_time
async def test_calls_that_wait_for_their_turn_are_told_to_go_elsewhere_when_the_process_leaves() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=3600, concurrency=1))
    held = [i.start() for _ in range(3)]
    await asyncio.sleep(1)
    i.layer.on_drain()
    for task in held:
        with pytest.raises(Unavailable):
            await task


@in_virtual_time
async def test_an_abort_ends_the_call_at_once_with_its_code() -> None:
    i = Injecting()
    i.faults.set(Fault(abort="DATA_LOSS"))
    with pytest.raises(Injected) as raised:
        await i.serve()
    code, message, _ = status.to_wire(raised.value)
    assert (code, "on purpose" in message) == (grpc.StatusCode.DATA_LOSS, True)
    assert samples(i.layer)["mesh_faults_injected_total{kind=abort,method=shop.Shop/Buy}"] == 1


@in_virtual_time
async def test_with_both_it_is_held_before_it_is_ended() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=2, abort="UNAVAILABLE"))
    began = i.clock()
    with pytest.raises(Injected):
        await i.serve()
    assert i.clock() - began == pytest.approx(2)


@in_virtual_time
async def test_a_call_that_is_held_is_served_once_the_fault_is_cleared() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=3600, abort="UNAVAILABLE"))
    held = i.start()
    await asyncio.sleep(5)
    assert samples(i.layer)["mesh_faults_held"] == 1
    i.layer.let_go(i.faults.clear())
    assert await held == pytest.approx(5)
    assert samples(i.layer)["mesh_faults_held"] == 0


@in_virtual_time
async def test_a_call_that_is_held_is_served_once_the_fault_has_ended_by_itself() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=3600, abort="UNAVAILABLE"), lasts=10)
    await asyncio.sleep(4)
    assert await i.serve() == pytest.approx(6)


@in_virtual_time
async def test_a_fault_ends_with_its_lease_and_serves_what_it_held() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=3600, abort="UNAVAILABLE"), set_by="client", lease=30)
    assert await i.serve() == pytest.approx(30)
    assert await i.serve() == 0


@in_virtual_time
async def test_a_lease_that_is_renewed_holds_the_same_calls_on() -> None:
    i = Injecting()
    fault = Fault(delay=3600)
    i.faults.set(fault, set_by="client", lease=30)
    held = i.start()
    for _ in range(10):
        await asyncio.sleep(10)
        assert i.faults.set(fault, set_by="client", lease=30) is None
    assert i.faults.rules["*"].hits == 1
    assert await held == pytest.approx(130)  # 100 s, and the lease that nobody renewed


@in_virtual_time
async def test_a_lease_outlasts_neither_its_delay_nor_its_time() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=5), set_by="client", lease=30)
    assert await i.serve() == pytest.approx(5)
    fault = Fault("shop.Shop/Buy", delay=3600)
    i.faults.set(fault, lasts=20, set_by="client", lease=30)
    held = i.start()
    await asyncio.sleep(15)
    i.faults.set(fault, lasts=20, set_by="client", lease=30)
    assert await held == pytest.approx(20)


def test_who_sets_another_fault_or_is_another_workload_renews_nothing() -> None:
    s = Set()
    s.faults.set(Fault("*", delay=1), set_by="client", lease=30)
    first = s.faults.rules["*"]
    assert s.faults.set(Fault("*", delay=1), set_by="other", lease=30) is first
    second = s.faults.rules["*"]
    assert s.faults.set(Fault("*", delay=2), set_by="other", lease=30) is second
    third = s.faults.rules["*"]
    assert s.faults.set(Fault("*", delay=2), set_by="other") is third  # somebody wants it for longer
    s.clock.advance(1000)
    assert s.met(BUY) == "*"


@in_virtual_time
async def test_a_call_that_is_held_is_told_to_go_elsewhere_when_the_process_leaves() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=3600))
    held = [i.start() for _ in range(3)]
    await asyncio.sleep(1)
    i.layer.on_drain()
    for task in held:
        with pytest.raises(Unavailable):
            await task


@in_virtual_time
async def test_a_call_that_is_cancelled_is_held_no_longer() -> None:
    i = Injecting()
    i.faults.set(Fault(delay=3600))
    held = i.start()
    await asyncio.sleep(1)
    held.cancel()
    await asyncio.wait([held])
    i.layer.on_drain()
    assert held.cancelled()
    assert samples(i.layer)["mesh_faults_held"] == 0


def test_no_more_calls_are_held_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_module, "MOST_HELD", 2)

    async def hold_three() -> None:
        i = Injecting()
        i.faults.set(Fault(delay=10))
        held = [i.start(), i.start()]
        await asyncio.sleep(1)
        with pytest.raises(ResourceExhausted):
            await i.serve()
        assert [await task for task in held] == pytest.approx([10, 10])

    run_in_virtual_time(hold_three())


def servicer(layer: FaultLayer | None = None) -> FaultServicer:
    return FaultServicer(layer or FaultLayer(Faults(VirtualClock(), random.Random(7))), lambda: [BUY, LOOK])


def asked(lasts: float | None = None, **fault: Any) -> pb.SetFaultRequest:
    """Return a request to set this fault. `delay` and `lasts` are in seconds."""
    request = pb.SetFaultRequest()
    delay = fault.pop("delay", 0)
    request.fault.CopyFrom(pb.Fault(**fault))
    request.fault.delay.FromNanoseconds(round(delay * 1e9))
    if lasts is not None:
        request.lasts.FromNanoseconds(round(lasts * 1e9))
    return request


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (asked(), {"fault.method", "fault"}),
        (asked(method="*"), {"fault"}),
        (asked(method="shop.Shop/Sell", delay=1), {"fault.method"}),
        (asked(method="no.Such/*", delay=1), {"fault.method"}),
        (asked(method="*", delay=-1), {"fault.delay"}),
        (asked(method="*", delay=90_000), {"fault.delay"}),
        (asked(method="*", delay=1, share=1.01), {"fault.share"}),
        (asked(method="*", delay=1, share=-0.5), {"fault.share"}),
        (asked(method="*", delay=1, share=float("nan")), {"fault.share"}),
        (asked(method="*", abort="OK"), {"fault.abort"}),
        (asked(method="*", abort="unavailable"), {"fault.abort"}),
        (asked(method="*", delay=1, lasts=0), {"lasts"}),
        (asked(method="*", delay=1, lasts=-1), {"lasts"}),
        (asked(method="*", delay=1, concurrency=-1), {"fault.concurrency"}),
        (asked(method="*", delay=1, concurrency=10_001), {"fault.concurrency"}),
        (asked(method="*", abort="UNKNOWN", concurrency=1), {"fault.concurrency"}),
    ],
)
async def test_what_cannot_be_set_is_refused_with_every_wrong_field(
    request_: pb.SetFaultRequest, fields: set[str]
) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await servicer().SetFault(request_, None)
    assert {v.field for v in raised.value.violations} == fields


async def test_what_is_set_is_listed_and_cleared(caplog: pytest.LogCaptureFixture) -> None:
    s = servicer()
    fault = {"method": "shop.Shop/*", "delay": 0.3, "abort": "INTERNAL", "share": 0.5, "concurrency": 4}
    await s.SetFault(asked(lasts=60, **fault), None)
    await s.SetFault(asked(method="*", abort="UNKNOWN"), None)
    both = (await s.ListFaults(pb.ListFaultsRequest(), None)).faults
    first, second = sorted(both, key=lambda active: active.fault.abort)
    assert (first.fault.method, first.fault.share, first.fault.delay.ToMilliseconds()) == (
        "shop.Shop/*",
        0.5,
        300,
    )
    assert (first.fault.concurrency, second.fault.concurrency) == (4, 0)
    assert (first.remaining.seconds, second.HasField("remaining")) == (60, False)
    assert (second.fault.share, second.hits, second.held) == (1.0, 0, 0)
    assert (await s.ClearFaults(pb.ClearFaultsRequest(method="*"), None)).cleared == 1
    assert (await s.ClearFaults(pb.ClearFaultsRequest(), None)).cleared == 1
    assert (await s.ListFaults(pb.ListFaultsRequest(), None)).faults == []
    assert len(caplog.records) == 4


def test_every_status_code_can_be_wanted_and_arrives_as_what_it_is() -> None:
    for code in grpc.StatusCode:
        told, message, trailing = status.to_wire(Injected(code.name))
        wire = status.from_wire(trailing)
        assert (told, message) == (code, "a fault has been set here on purpose")
        assert wire is not None
        assert wire.code == code.value[0]


def test_a_call_begins_without_being_held() -> None:
    fresh: ServerCall = call()
    assert fresh.hold is None
