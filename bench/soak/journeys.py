"""The load: journeys of several kinds at fixed rates, and what became of each."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

from bench.backoffice import BackOffice
from grpcmesh.clock import Clock
from services.loadgen import journeys
from services.loadgen.calls import ChannelSource
from services.loadgen.engine import Journey, Load, Recorder
from services.loadgen.persistent import Asked, PersistentBuyer, random_cart
from services.loadgen.report import Report
from services.loadgen.shop import Shop

#: The share of each scenario in all arrivals. `page` goes through the storefront; `order` is a buyer who does
#: not give up before it has an answer.
WEIGHTS: Mapping[str, float] = {
    "page": 0.25,
    "browse": 0.25,
    "search": 0.15,
    "buy": 0.12,
    "follow": 0.1,
    "chat": 0.08,
    "order": 0.05,
}
#: Codes of answers that are no failures: the rules of the shop refuse, such as an order of what is sold out.
REFUSALS = frozenset({"FAILED_PRECONDITION"})
#: Seconds between two acts of the back office.
ACT_EVERY = 4.0
#: Seconds that journeys may take at the end; one that takes longer hangs.
FINISH = 70.0
_PAGE_TIMEOUT = 10.0


@dataclass(frozen=True)
class Failed:
    """A journey with a failed call. Times are seconds since the start of the run."""

    scenario: str
    began: float
    ended: float
    calls: tuple[str, ...]
    """The failed calls, such as `order/CreateOrder UNAVAILABLE`."""


@dataclass
class Log:
    """What became of the journeys.

    Args:
        clock: Returns the seconds since the start of the run.
        width: The seconds of a bin of `bins`.
        on_failed: Called with each failed journey.
    """

    clock: Clock
    width: float = 60.0
    on_failed: Callable[[Failed], None] = lambda _: None
    asked: Counter[str] = field(default_factory=Counter)
    failed: list[Failed] = field(default_factory=list)
    #: Journeys by bin of time: all, for the plot.
    bins: Counter[int] = field(default_factory=Counter)

    def add(self, scenario: str, began: float, calls: tuple[str, ...]) -> None:
        """Record a journey that has ended."""
        self.asked[scenario] += 1
        self.bins[int(began / self.width)] += 1
        if calls:
            failed = Failed(scenario, began, self.clock(), calls)
            self.failed.append(failed)
            self.on_failed(failed)

    def watch(self, scenario: str, journey: Journey) -> Journey:
        """Return the journey, recorded here at its end. Its samples are not kept: a run lasts long."""

        async def watched(recorder: Recorder) -> None:
            began, report = self.clock(), Report()
            try:
                await journey(Recorder(report, began, self.clock))
            except asyncio.CancelledError:  # the load has ended, and this journey does not
                self.add(scenario, began, ("journey HANGS",))
                raise
            bad = [s for s in report.samples if s.code != "OK" and s.code not in REFUSALS]
            self.add(scenario, began, tuple(f"{s.target}/{s.method} {s.code}" for s in bad))

        return watched


class Traffic:
    """All journeys, and the back office, from the beginning of the block to its end.

    Args:
        channels: Channels into the mesh.
        storefront: The URL of the storefront.
        rate: Arrivals per second.
        rng: Draws what visitors do.
        log: Is told of each journey.
    """

    def __init__(
        self, channels: ChannelSource, storefront: str, rate: float, rng: random.Random, log: Log
    ) -> None:
        self._channels, self._storefront, self._rate, self._rng = channels, storefront, rate, rng
        self._log, self._stack = log, AsyncExitStack()
        #: The orders of the buyers who do not give up.
        self.asked: dict[str, Asked] = {}
        self.office: BackOffice | None = None

    async def __aenter__(self) -> Self:
        shop = Shop(self._channels, random.Random(self._rng.random()))
        http = await self._stack.enter_async_context(
            httpx.AsyncClient(base_url=self._storefront, timeout=_PAGE_TIMEOUT, trust_env=False)
        )
        admin = next(session for session in shop.buyers if session.name == "alice")
        rng = random.Random(self._rng.random())
        self.office = BackOffice(self._channels, shop, admin, rng, ACT_EVERY)
        await self._stack.enter_async_context(self.office)
        made: dict[str, Journey] = {
            "page": page(http, shop.rng),
            "order": self._persistent(shop),
            **{name: getattr(journeys, name)(shop) for name in ("browse", "search", "buy", "follow", "chat")},
        }
        for name, journey in made.items():
            watched, rate = self._log.watch(name, journey), self._rate * WEIGHTS[name]
            await self._stack.enter_async_context(Load(watched, rate, finish=FINISH))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def _persistent(self, shop: Shop) -> Journey:
        """Return a journey that places an order with one key until there is an answer."""
        run = f"chaos-soak-{self._rng.getrandbits(48):x}"

        async def journey(recorder: Recorder) -> None:
            session = shop.buyers[len(self.asked) % len(shop.buyers)]
            key = f"{run}-{len(self.asked)}"
            self.asked[key] = Asked(key)  # before the answer: one that never comes must not be forgotten
            asked = await PersistentBuyer(shop, session).order(key, random_cart(shop.rng))
            self.asked[key] = asked
            if self.office is not None:
                self.office.sold(asked)
            code = "OK" if asked.accepted else asked.answer.partition(":")[0].replace(" ", "_")
            recorder.record("order", "CreateOrder", code, None, asked.attempts)

        return journey


def page(http: httpx.AsyncClient, rng: random.Random) -> Journey:
    """Return a journey that opens the shop's first page, and a product's, like a browser."""

    async def journey(recorder: Recorder) -> None:
        for method, path in (("home", "/"), ("product", f"/products/{rng.randint(1, 10)}")):
            try:
                status = (await http.get(path)).status_code
                code = "OK" if status < 400 else f"HTTP_{status}"
            except httpx.HTTPError as e:
                code = type(e).__name__
            recorder.record("storefront", method, code, None, 1)

    return journey


def since(start: float, clock: Clock = time.monotonic) -> Clock:
    """Return a clock of the seconds since `start`."""
    return lambda: clock() - start
