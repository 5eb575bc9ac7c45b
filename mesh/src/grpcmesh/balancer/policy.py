"""The base class of policies, slow start, and the policies that do not need load reports.

`update` gives a policy the endpoints in rotation when they change. The cost of a pick does not depend on
their number.
"""

from collections.abc import Sequence

from grpcmesh.balancer.endpoint import Endpoint
from grpcmesh.balancer.orca import LoadReport
from grpcmesh.call import ClientCall
from grpcmesh.clock import Clock, Rng

#: The weight that a new endpoint starts with.
_FIRST_SHARE = 0.1
#: How often `draw` draws at most. The last endpoint drawn is taken even if it warms up.
_DRAWS = 10
#: The most methods with a turn of their own. When there are more, all turns are reset.
_MAX_METHODS = 1024
#: Weight of the newest answer in the average of `TwoChoices`.
LEARN = 0.05


class SlowStart:
    """Computes the weight of endpoints that are warming up. It grows linearly from a tenth to one.

    The weight is relative to that of the oldest endpoint. If all are new, as when a process starts, they
    share the calls evenly.

    Args:
        seconds: How long an endpoint warms up; 0 switches slow start off.
        clock: Monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds, self._clock = seconds, clock
        self._until = 0.0
        #: Whether an endpoint was warming up when `active` was read last.
        self.begun = False
        self._oldest = 0.0

    def among(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints in rotation."""
        self._oldest = min((e.ready_since for e in endpoints), default=0.0)

    def begin(self, endpoint: Endpoint) -> None:
        """Note that the endpoint becomes ready now, and begins to warm up."""
        endpoint.ready_since = self._clock()
        self._until, self.begun = endpoint.ready_since + self._seconds, True

    @property
    def active(self) -> bool:
        """Return whether any endpoint is warming up. Reads the clock only while one may be."""
        if self.begun and self._clock() >= self._until:
            self.begun = False
        return self.begun

    def weight(self, endpoint: Endpoint) -> float:
        """Return the weight of an endpoint now, in (0, 1]."""
        if not self._seconds:
            return 1.0
        now = self._clock()
        return self._share(now - endpoint.ready_since) / self._share(now - self._oldest)

    def _share(self, age: float) -> float:
        return min(1.0, _FIRST_SHARE + (1 - _FIRST_SHARE) * age / self._seconds)


class Policy:
    """Picks among endpoints that are ready. Base class of an application's own policies, too.

    Args:
        slow_start: Weights of the endpoints that warm up.
        clock: Monotonic seconds.
        rng: Draws randomly.
    """

    #: Whether the policy uses `ended`, and whether it uses `reported`.
    wants_latency = False
    wants_reports = False

    def __init__(self, slow_start: SlowStart, clock: Clock, rng: Rng) -> None:
        self.slow_start, self.clock, self.rng = slow_start, clock, rng
        self.endpoints: Sequence[Endpoint] = ()

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints in rotation. There has to be at least one when `pick` is called."""
        self.endpoints = endpoints
        self.slow_start.among(endpoints)

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        """Return an endpoint for this call: one other than `avoid`, if there is any."""
        raise NotImplementedError

    def ended(self, endpoint: Endpoint, latency: float, ok: bool) -> None:
        """Record that an attempt ended after `latency` seconds. `ok`: whether with OK."""

    def reported(self, endpoint: Endpoint, report: LoadReport) -> None:
        """Record a server's load report."""

    def draw(self, avoid: Endpoint | None, warming: bool) -> Endpoint:
        """Return a random endpoint: one other than `avoid`, if there is any.

        `warming`: whether to draw endpoints that warm up less often.
        """
        endpoints, count, random = self.endpoints, len(self.endpoints), self.rng.random
        for _ in range(_DRAWS):
            index = int(random() * count)
            if endpoints[index] is avoid and count > 1:
                index = (index + 1 + int(random() * (count - 1))) % count
            if not warming or random() < self.slow_start.weight(endpoints[index]):
                break
        return endpoints[index]


class Turns:
    """Counts turns for each method.

    With one counter for all methods, a caller that alternates two methods over two endpoints would send each
    method to one endpoint only. Each method starts at a random number, so that clients are not in step.
    """

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._by_method: dict[str, int] = {}

    def next(self, call: ClientCall | None) -> int:
        """Take this method's next turn, and return its number."""
        path = call.method.path if call else ""
        number = self._by_method.get(path)
        if number is None:
            number = self.of(call)
            self.follow(call, number + 1)
        else:
            self._by_method[path] = number + 1
        return number

    def of(self, call: ClientCall | None) -> int:
        """Return the number of this method's next turn, without taking it."""
        path = call.method.path if call else ""
        number = self._by_method.get(path)
        return int(self._rng.random() * 1_000_000) if number is None else number

    def follow(self, call: ClientCall | None, number: int) -> None:
        """Set the number of this method's next turn."""
        if len(self._by_method) >= _MAX_METHODS:
            self._by_method.clear()
        self._by_method[call.method.path if call else ""] = number


class RoundRobin(Policy):
    """Picks each endpoint in turn, with separate turns for each method.

    An endpoint that warms up passes on some of its turns. At each turn its weight is added to its credit, and
    it takes the turn once the credit reaches one.
    """

    def __init__(self, slow_start: SlowStart, clock: Clock, rng: Rng) -> None:
        super().__init__(slow_start, clock, rng)
        self._turns = Turns(rng)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            # A random head start, or endpoints that warm up together would take turns in one burst.
            endpoint.credit = endpoint.credit or self.rng.random()
        super().update(endpoints)

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        endpoints = self.endpoints
        count = len(endpoints)
        warming = self.slow_start.begun and self.slow_start.active
        if avoid is None and not warming:
            return endpoints[self._turns.next(call) % count]
        first = turn = self._turns.of(call)
        while turn < first + count:
            endpoint = endpoints[turn % count]
            turn += 1
            if endpoint is avoid and count > 1:
                continue
            if not warming or self._takes_turn(endpoint):
                break
        self._turns.follow(call, turn)
        return endpoints[(turn - 2) % count] if endpoint is avoid and count > 1 else endpoint

    def _takes_turn(self, endpoint: Endpoint) -> bool:
        endpoint.credit += self.slow_start.weight(endpoint)
        if endpoint.credit < 1:
            return False
        endpoint.credit -= 1
        return True


class Random(Policy):
    """Picks a random endpoint."""

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        return self.draw(avoid, self.slow_start.active)


class TwoChoices(Policy):
    """Draws some endpoints at random, two by default, and picks the one with the lowest cost.

    The power of two choices: Mitzenmacher, https://www.eecs.harvard.edu/~michaelm/postscripts/tpds2001.pdf
    An endpoint that warms up is drawn less often. If its cost were raised instead, it would get no calls from
    a client with few calls in flight.

    An endpoint that fails at once has nothing in flight, and would be the cheapest of all. So a failed
    attempt counts as in flight until a typical answer would have come. Then a failing endpoint gets no more
    than its fair share.

    Args:
        choices: How many endpoints are drawn (gRFC A48: choiceCount).
    """

    wants_latency = True

    def __init__(self, slow_start: SlowStart, clock: Clock, rng: Rng, choices: int = 2) -> None:
        super().__init__(slow_start, clock, rng)
        self._choices = choices
        #: Average latency of good answers of the target in seconds; 0 before the first.
        self.typical = 0.0

    def cost(self, endpoint: Endpoint) -> float:
        """Return the cost of one more call to this endpoint; lower is better."""
        raise NotImplementedError

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        endpoints = self.endpoints
        count = len(endpoints)
        if count == 1:
            return endpoints[0]
        warming = self.slow_start.active
        if avoid is not None or warming or self._choices > 2:
            drawn = [self.draw(avoid, warming) for _ in range(self._choices)]
            return min(drawn, key=self.cost)
        i, j = int(self.rng.random() * count), int(self.rng.random() * (count - 1))
        first, second = endpoints[i], endpoints[j + (j >= i)]
        return second if self.cost(second) < self.cost(first) else first

    def ended(self, endpoint: Endpoint, latency: float, ok: bool) -> None:
        if ok:
            self.typical += (latency - self.typical) * (LEARN if self.typical else 1.0)
        elif latency < self.typical:
            endpoint.lingering.append(self.clock() + self.typical - latency)

    def load(self, endpoint: Endpoint) -> int:
        """Return the calls in flight at the endpoint, including failed ones that still count."""
        lingering = endpoint.lingering
        if lingering:
            now = self.clock()
            while lingering and lingering[0] <= now:
                lingering.popleft()
        return endpoint.in_flight + len(lingering)


class LeastRequest(TwoChoices):
    """Picks the endpoint with the fewest calls in flight of those drawn at random (gRFC A48)."""

    def cost(self, endpoint: Endpoint) -> float:
        return self.load(endpoint)
