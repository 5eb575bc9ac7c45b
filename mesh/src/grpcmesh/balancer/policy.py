"""The shape of a policy, slow start, and the policies that need neither latency nor load reports.

A policy is told the endpoints in rotation when they change, and picks among them at a cost that does
not depend on how many there are.
"""

from collections.abc import Sequence

from grpcmesh.balancer.endpoint import Endpoint
from grpcmesh.balancer.orca import LoadReport
from grpcmesh.clock import Clock, Rng

#: A new endpoint begins with this share of its share.
_FIRST_SHARE = 0.1
#: How often one that warms up may be passed over before the last drawn is taken.
_DRAWS = 10


class SlowStart:
    """The weight of endpoints that are warming up, from a tenth to all, growing evenly with time.

    It is relative to the endpoint that is warmest: where all are new, as when a process starts, they
    have nobody to leave the work to, and share it evenly.

    Args:
        seconds: How long that takes; 0 switches it off.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds, self._clock = seconds, clock
        self._until = float("-inf")
        self._oldest = 0.0

    def among(self, endpoints: Sequence[Endpoint]) -> None:
        """These are in rotation."""
        self._oldest = min((e.ready_since for e in endpoints), default=0.0)

    def begin(self, endpoint: Endpoint) -> None:
        """The endpoint comes into rotation now."""
        endpoint.ready_since = self._clock()
        self._until = endpoint.ready_since + self._seconds

    @property
    def active(self) -> bool:
        """Whether anything is warming up: a look at the clock only until it is not."""
        if self._until > float("-inf") and self._clock() >= self._until:
            self._until = float("-inf")
        return self._until > float("-inf")

    def weight(self, endpoint: Endpoint) -> float:
        """In (0, 1]."""
        if not self._seconds:
            return 1.0
        now = self._clock()
        return self._share(now - endpoint.ready_since) / self._share(now - self._oldest)

    def _share(self, age: float) -> float:
        return min(1.0, _FIRST_SHARE + (1 - _FIRST_SHARE) * age / self._seconds)


class Policy:
    """Picks among endpoints that are ready.

    Args:
        slow_start: Weights of the endpoints that warm up.
    """

    #: Whether `ended` and `reported` want to be told.
    wants_latency = False
    wants_reports = False

    def __init__(self, slow_start: SlowStart, clock: Clock, rng: Rng) -> None:
        self.slow_start, self.clock, self.rng = slow_start, clock, rng
        self.endpoints: Sequence[Endpoint] = ()

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """The endpoints in rotation have changed; there is at least one when `pick` is called."""
        self.endpoints = endpoints
        self.slow_start.among(endpoints)

    def pick(self, avoid: Endpoint | None = None) -> Endpoint:
        """Picks one, another than `avoid` if there is any."""
        raise NotImplementedError

    def ended(self, endpoint: Endpoint, latency: float, ok: bool) -> None:
        """A call took so many seconds."""

    def reported(self, endpoint: Endpoint, report: LoadReport) -> None:
        """A server told its load."""

    def draw(self, avoid: Endpoint | None, warming: bool) -> Endpoint:
        """One at random, another than `avoid` if there is any; less often one that warms up."""
        endpoints, count, random = self.endpoints, len(self.endpoints), self.rng.random
        for _ in range(_DRAWS):
            index = int(random() * count)
            if endpoints[index] is avoid and count > 1:
                index = (index + 1 + int(random() * (count - 1))) % count
            if not warming or random() < self.slow_start.weight(endpoints[index]):
                break
        return endpoints[index]


class RoundRobin(Policy):
    """Each in turn. It starts anywhere, so that many clients do not march in step.

    An endpoint that warms up lets others go before: each time its turn comes it saves up its weight,
    and takes the turn when it has saved one.
    """

    def __init__(self, slow_start: SlowStart, clock: Clock, rng: Rng) -> None:
        super().__init__(slow_start, clock, rng)
        self._index = int(rng.random() * 1_000_000)

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        for endpoint in endpoints:
            # A random head start, or endpoints that warm up together would take turns in one burst.
            endpoint.credit = endpoint.credit or self.rng.random()
        super().update(endpoints)

    def pick(self, avoid: Endpoint | None = None) -> Endpoint:
        endpoints = self.endpoints
        count = len(endpoints)
        warming = self.slow_start.active
        for _ in range(count):
            self._index = index = (self._index + 1) % count
            endpoint = endpoints[index]
            if endpoint is avoid and count > 1:
                continue
            if not warming or self._takes_turn(endpoint):
                return endpoint
        if endpoint is avoid:
            endpoint = endpoints[index - 1]
        return endpoint

    def _takes_turn(self, endpoint: Endpoint) -> bool:
        endpoint.credit += self.slow_start.weight(endpoint)
        if endpoint.credit < 1:
            return False
        endpoint.credit -= 1
        return True


class Random(Policy):
    """Any."""

    def pick(self, avoid: Endpoint | None = None) -> Endpoint:
        return self.draw(avoid, self.slow_start.active)


class TwoChoices(Policy):
    """The cheaper of two drawn at random.

    The power of two choices: Mitzenmacher, https://www.eecs.harvard.edu/~michaelm/postscripts/tpds2001.pdf
    An endpoint that warms up is drawn less often: were its cost raised instead, it would get nothing
    from a client that has few calls in flight.
    """

    def cost(self, endpoint: Endpoint) -> float:
        """Of one more call to this endpoint."""
        raise NotImplementedError

    def pick(self, avoid: Endpoint | None = None) -> Endpoint:
        endpoints = self.endpoints
        count = len(endpoints)
        if count == 1:
            return endpoints[0]
        if avoid is not None or self.slow_start.active:
            warming = self.slow_start.active
            first, second = self.draw(avoid, warming), self.draw(avoid, warming)
        else:
            i, j = int(self.rng.random() * count), int(self.rng.random() * (count - 1))
            first, second = endpoints[i], endpoints[j + (j >= i)]
        return second if self.cost(second) < self.cost(first) else first


class LeastRequest(TwoChoices):
    """The one with fewer calls in flight, of two drawn at random."""

    def cost(self, endpoint: Endpoint) -> float:
        return endpoint.in_flight
