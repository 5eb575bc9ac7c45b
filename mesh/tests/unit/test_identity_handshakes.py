import asyncio
from collections.abc import Callable

from grpcmesh.identity import HandshakeMonitor
from grpcmesh.identity.handshakes import LOOKS
from grpcmesh.testing.clock import VirtualClock, run_in_virtual_time
from tests.unit.fakes import samples

SETTLED = LOOKS[-1]


class Watched:
    """A monitor in virtual time, over connections that the test opens and closes."""

    def __init__(self) -> None:
        self.connected: set[str] = set()
        self.looks = 0
        self.monitor = HandshakeMonitor(asyncio.get_running_loop().time)
        self.monitor.attach()
        self.running = asyncio.create_task(self.monitor.run(self._peers))

    async def _peers(self) -> frozenset[str]:
        self.looks += 1
        return frozenset(self.connected)


def scenario(body: Callable[[Watched], object]) -> Callable[[], None]:
    async def run() -> None:
        watched = Watched()
        await body(watched)  # type: ignore[misc]
        watched.running.cancel()

    def test() -> None:
        run_in_virtual_time(run())

    return test


@scenario
async def test_a_handshake_that_becomes_a_connection_has_not_failed(w: Watched) -> None:
    w.monitor.begin()
    w.connected.add("a")
    await asyncio.sleep(2 * SETTLED)
    assert samples(w.monitor) == {"mesh_tls_handshakes_total": 1, "mesh_tls_handshake_failures_total": 0}


@scenario
async def test_a_handshake_that_becomes_nothing_has_failed_after_the_settle_time(w: Watched) -> None:
    w.monitor.begin()
    await asyncio.sleep(SETTLED * 0.9)
    assert w.monitor.failed == 0
    await asyncio.sleep(SETTLED * 0.2)
    assert w.monitor.failed == 1
    assert not w.monitor.pending


@scenario
async def test_a_connection_too_short_to_be_seen_counts_by_its_call(w: Watched) -> None:
    w.monitor.begin()
    w.monitor.saw_call("a")
    w.monitor.saw_call("a")
    await asyncio.sleep(2 * SETTLED)
    assert w.monitor.failed == 0


@scenario
async def test_a_call_of_an_old_connection_accounts_for_nothing(w: Watched) -> None:
    w.monitor.begin()
    w.connected.add("old")
    await asyncio.sleep(2 * SETTLED)
    w.monitor.begin()
    w.monitor.saw_call("old")
    await asyncio.sleep(2 * SETTLED)
    assert w.monitor.failed == 1


@scenario
async def test_a_connection_seen_by_its_call_and_then_in_channelz_counts_once(w: Watched) -> None:
    w.monitor.begin()
    w.monitor.begin()
    w.monitor.saw_call("a")
    w.connected.add("a")
    await asyncio.sleep(2 * SETTLED)
    assert w.monitor.failed == 1


@scenario
async def test_a_port_that_is_used_again_is_a_new_connection(w: Watched) -> None:
    for _ in range(3):
        w.monitor.begin()
        w.connected.add("a")
        await asyncio.sleep(2 * SETTLED)
        w.connected.clear()
        w.monitor.begin()
        w.connected.add("b")
        await asyncio.sleep(2 * SETTLED)
        w.connected.clear()
    assert w.monitor.failed == 0


@scenario
async def test_good_and_bad_are_told_apart_in_a_crowd(w: Watched) -> None:
    for number in range(100):
        w.monitor.begin()
        if number % 10:
            w.connected.add(f"peer-{number}")
        await asyncio.sleep(0.01)
    await asyncio.sleep(3 * SETTLED)
    assert (w.monitor.total, w.monitor.failed) == (100, 10)


@scenario
async def test_nothing_is_looked_at_while_nothing_is_pending(w: Watched) -> None:
    w.monitor.begin()
    w.connected.add("a")
    await asyncio.sleep(2 * SETTLED)
    looks = w.looks
    await asyncio.sleep(3600)
    assert w.looks == looks <= len(LOOKS)


@scenario
async def test_a_flood_of_handshakes_is_counted_in_bounded_memory(w: Watched) -> None:
    for _ in range(10_000):
        w.monitor.begin()
    assert len(w.monitor.pending) == 4096
    await asyncio.sleep(2 * SETTLED)
    assert w.monitor.failed == 10_000


async def test_a_handshake_is_reported_from_grpcs_own_thread() -> None:
    monitor = HandshakeMonitor()
    monitor.attach()
    await asyncio.to_thread(monitor.started)
    await asyncio.sleep(0)
    assert monitor.total == 1


def test_a_handshake_after_the_loop_has_closed_is_nobodys() -> None:
    async def attach() -> HandshakeMonitor:
        monitor = HandshakeMonitor(VirtualClock())
        monitor.attach()
        return monitor

    monitor = asyncio.run(attach())
    monitor.started()
    HandshakeMonitor().started()
    assert monitor.total == 0
