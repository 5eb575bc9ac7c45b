"""When DNS is asked, in virtual time."""

import asyncio
import random
from collections.abc import Iterable

import pytest

from grpcmesh.config import ResolverConfig
from grpcmesh.resolver import Address, DnsResolver, StaticResolver
from grpcmesh.resolver.asking import LookupFailedError
from grpcmesh.resolver.lookup import Found
from grpcmesh.resolver.schedule import Schedule
from grpcmesh.testing.clock import run_in_virtual_time

CONFIG = ResolverConfig(min_interval=1.0, max_interval=30.0, jitter=0.0)
ONE = Address("10.0.0.1", 50051)
TWO = Address("10.0.0.2", 50051)


class Script:
    """A fake look-up that gives one answer after the other, repeats the last, and records its times."""

    def __init__(self, *answers: Found | LookupFailedError) -> None:
        self.answers = list(answers)
        self.times: list[float] = []

    async def __call__(self) -> Found:
        self.times.append(asyncio.get_running_loop().time() - 1000)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, LookupFailedError):
            raise answer
        return answer


def found(addresses: Iterable[Address] = (ONE,), ttl: float | None = 5.0, result: str = "found") -> Found:
    return Found(frozenset(addresses), ttl, result)


async def watch(resolver: DnsResolver, seconds: float) -> list[frozenset[Address]]:
    seen: list[frozenset[Address]] = []
    try:
        async with asyncio.timeout(seconds):
            async for addresses in resolver.watch():
                seen.append(addresses)  # noqa: PERF401  # kept when the time is over
    except TimeoutError:
        pass
    return seen


def test_dns_is_asked_again_when_the_ttl_ends() -> None:
    script = Script(found(ttl=5))
    run_in_virtual_time(watch(DnsResolver(CONFIG, "x.", lookup=script), 16))
    assert script.times == [0, 5, 10, 15]


def test_a_ttl_of_nothing_is_asked_no_faster_than_every_second() -> None:
    script = Script(found(ttl=0))
    run_in_virtual_time(watch(DnsResolver(CONFIG, "x.", lookup=script), 3.5))
    assert script.times == [0, 1, 2, 3]


def test_a_long_ttl_does_not_hide_a_change_for_long() -> None:
    script = Script(found(ttl=3600))
    run_in_virtual_time(watch(DnsResolver(CONFIG, "x.", lookup=script), 61))
    assert script.times == [0, 30, 60]


def test_a_name_that_does_not_exist_is_asked_for_every_second() -> None:
    script = Script(found((), None, "nxdomain"))
    resolver = DnsResolver(CONFIG, "x.", lookup=script)
    assert run_in_virtual_time(watch(resolver, 2.5)) == [frozenset()] * 3
    assert resolver.error == "x. has no addresses in DNS (nxdomain)"


@pytest.mark.parametrize(
    ("ttl", "times"), [(2.0, [0, 2, 4, 6]), (600.0, [0, 5]), (0.0, [0, 1, 2, 3, 4, 5, 6])]
)
def test_that_a_name_does_not_exist_is_believed_for_its_ttl_within_bounds(
    ttl: float, times: list[int]
) -> None:
    script = Script(found((), ttl, "nxdomain"))
    run_in_virtual_time(watch(DnsResolver(CONFIG, "x.", lookup=script), 6.5))
    assert script.times == times


def test_a_look_up_that_took_its_time_to_fail_is_followed_by_the_next_at_once() -> None:
    class Silent(Script):
        async def __call__(self) -> Found:
            await super().__call__()
            await asyncio.sleep(2)
            raise LookupFailedError("timeout", "no answer")

    script = Silent(found())
    run_in_virtual_time(watch(DnsResolver(CONFIG, "x.", lookup=script), 5))
    assert script.times == [0, 2, 4]


def test_what_a_look_up_cannot_foresee_does_not_end_the_resolver(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Script):
        async def __call__(self) -> Found:
            if not self.times:
                self.times.append(0)
                raise RecursionError("deep")
            return await super().__call__()

    resolver = DnsResolver(CONFIG, "x.", lookup=Broken(found()))
    assert run_in_virtual_time(watch(resolver, 1.5)) == [{ONE}]
    assert "failed unexpectedly" in caplog.text


def test_a_part_that_failed_is_told_though_addresses_are_known() -> None:
    resolver = DnsResolver(
        CONFIG, "x.", lookup=Script(Found(frozenset([ONE]), 5.0, "found", "AAAA: no answer"))
    )
    assert run_in_virtual_time(watch(resolver, 1)) == [{ONE}]
    assert resolver.error == "AAAA: no answer"


def test_more_endpoints_than_the_bound_are_left_out() -> None:
    config = ResolverConfig(max_endpoints=1)
    resolver = DnsResolver(config, "x.", lookup=Script(found([TWO]), found([ONE, TWO])))
    assert run_in_virtual_time(watch(resolver, 6)) == [{TWO}, {TWO}]


def test_a_failed_look_up_yields_nothing_and_is_tried_again() -> None:
    failure = LookupFailedError("timeout", "no answer")
    script = Script(found(), failure, found([ONE, TWO]))
    resolver = DnsResolver(CONFIG, "x.", lookup=script)
    assert run_in_virtual_time(watch(resolver, 7)) == [{ONE}, {ONE, TWO}]
    assert script.times == [0, 5, 6]
    assert resolver.error == ""
    samples = {s.labels.get("result"): s.value for f in resolver.collect() for s in f.samples}
    assert samples == {"found": 2, "timeout": 1, "error": 0, None: 2}


def test_a_refresh_asks_at_once_but_no_faster_than_every_second() -> None:
    script = Script(found(ttl=30))
    resolver = DnsResolver(CONFIG, "x.", lookup=script)

    async def scenario() -> None:
        watching = asyncio.create_task(watch(resolver, 10))
        await asyncio.sleep(3)
        resolver.refresh()
        await asyncio.sleep(0.2)
        resolver.refresh()
        resolver.refresh()
        await watching

    run_in_virtual_time(scenario())
    assert script.times == [0, 3, 4]


def test_a_refresh_during_a_look_up_is_not_lost() -> None:
    class Slow(Script):
        async def __call__(self) -> Found:
            answer = await super().__call__()
            await asyncio.sleep(0.5)
            return answer

    script = Slow(found(ttl=30))
    resolver = DnsResolver(CONFIG, "x.", lookup=script)

    async def scenario() -> None:
        watching = asyncio.create_task(watch(resolver, 5))
        await asyncio.sleep(0.1)
        resolver.refresh()
        await watching

    run_in_virtual_time(scenario())
    assert script.times == [0, 1.5]


def test_jitter_shortens_a_wait_and_keeps_to_the_least() -> None:
    schedule = Schedule(ResolverConfig(jitter=0.5), random.Random(1))
    waits = []
    for _ in range(200):
        schedule.answered(0.0, 10.0)
        waits.append(schedule.wait(0.0, wanted=False))
    assert 5 <= min(waits) < 5.5
    assert 9.5 < max(waits) <= 10
    schedule.answered(0.0, 0.0)
    assert schedule.wait(0.0, wanted=False) == 1.0
    assert schedule.wait(0.25, wanted=True) == 0.75


def test_a_resolver_shows_what_it_knows() -> None:
    resolver = DnsResolver(CONFIG, "x.", lookup=Script(found([TWO, ONE])))
    assert repr(resolver) == "DnsResolver(x. → nothing yet)"
    run_in_virtual_time(watch(resolver, 1))
    assert repr(resolver) == "DnsResolver(x. → 10.0.0.1:50051, 10.0.0.2:50051)"


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:80"])
def test_an_address_reads_and_writes_itself(text: str) -> None:
    assert str(Address.parse(text)) == text
    assert Address.parse(text).uri == ("ipv6:" if "[" in text else "ipv4:") + text


def test_a_static_resolver_yields_its_list_once() -> None:
    async def scenario() -> list[frozenset[Address]]:
        seen = []
        async for addresses in StaticResolver(["127.0.0.1:1", Address("127.0.0.1", 2)]).watch():
            seen.append(addresses)
            break
        return seen

    assert run_in_virtual_time(scenario()) == [{Address("127.0.0.1", 1), Address("127.0.0.1", 2)}]
