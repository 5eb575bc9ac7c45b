"""A guard: the whole stack may not come to cost much more than bare grpc.aio.

It compares CPU time per call, client plus server, of short rounds in turns, so that what else the machine
does slows both. `bench/overhead.py` and bench/notes-speed.md have the figures themselves; this only notices
when they get a lot worse. Code's place in memory moves a ratio, so the bound is exceeded only if three
measurements with new processes say so.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop

from bench import overhead
from grpcmesh.call import ClientCall, ClientLayer

#: The whole stack over bare grpc.aio: measured 1.87 to 1.92 on grpcio 1.82.3 (on 1.85.1, whose bare calls
#: cost more: 1.38 to 1.74), and a margin of a fifth.
BOUND = 2.3
#: Pairs of rounds, calls of a round, and how many at a time.
PAIRS, CALLS, CONCURRENCY = 15, 100, 4
#: Seconds that a call may take on a machine that is busy.
TIMEOUT = 120.0

Call = Callable[[], Awaitable[Any]]


class Burner(ClientLayer):
    """Uses half a millisecond of CPU time per call."""

    def on_start(self, call: ClientCall) -> None:
        until = time.thread_time() + 0.0005
        while time.thread_time() < until:
            pass


async def round_of(call: Call, peer: overhead.Peer) -> float:
    """Return the CPU seconds per call of both processes."""

    async def worker() -> None:
        for _ in range(CALLS // CONCURRENCY):
            await call()

    before = time.process_time() + peer.cpu()
    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return (time.process_time() + peer.cpu() - before) / CALLS


async def ratio(**more: Any) -> float:
    """Return the median ratio within pairs of rounds. `more`: arguments of the stack's channel."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        overhead.prepare(directory)

        def started(variant: str) -> overhead.Peer:
            peer = overhead.Peer.start(variant, directory, "uvloop")
            stack.callback(peer.stop)
            return peer

        bare_peer, full_peer = started("bare"), started("full+log")
        issuer = overhead.TokenIssuer(
            overhead.signing_key(directory), "bench", overhead.config(directory, "user").auth
        )
        metadata = (("authorization", f"Bearer {issuer.issue(1, 'alice', ['user'], 3600)}"),)
        bare = overhead.bare(bare_peer.port, directory, tls=False)
        full = await overhead.mesh_channel([full_peer], directory, stack, full=True, **more)
        for channel in (bare, full):
            stack.push_async_callback(channel.close)
        get_bare, get_full = (overhead.ProductServiceStub(c).GetProduct for c in (bare, full))
        pair: tuple[tuple[Call, overhead.Peer], ...] = (
            (lambda: get_bare(overhead.REQUEST, timeout=TIMEOUT), bare_peer),
            (lambda: get_full(overhead.REQUEST, timeout=TIMEOUT, metadata=metadata), full_peer),
        )
        return statistics.median([await _pair(pair, n) for n in range(PAIRS + 2)][2:])


async def _pair(pair: tuple[tuple[Call, overhead.Peer], ...], number: int) -> float:
    """Play a round of each and return the ratio. The one that begins changes from pair to pair."""
    order = (0, 1) if number % 2 else (1, 0)
    costs = {n: await round_of(*pair[n]) for n in order}
    return costs[1] / costs[0]


def least(measurements: int, **more: Any) -> float:
    """Return the least ratio of several measurements. Stop once it is within the bound."""
    found: list[float] = []
    for _ in range(measurements):
        found.append(uvloop.run(ratio(**more)))
        if found[-1] <= BOUND:
            break
    print(f"the whole stack over bare grpc.aio: {', '.join(f'{r:.2f}' for r in found)}")
    return min(found)


def test_the_whole_stack_costs_little_more_than_bare_grpc() -> None:
    assert least(3) <= BOUND


def test_the_guard_notices_a_stack_that_has_become_slow() -> None:
    assert least(1, layers=[Burner()]) > BOUND
