"""The shape of a policy, slow start, and the policies that need neither latency nor load reports.

A policy is told the endpoints in rotation when they change, and picks among them at a cost that does
not depend on how many there are.
"""

from collections.abc import Sequence

from grpcmesh.balancer.endpoint import Endpoint
from grpcmesh.balancer.orca import LoadReport
from grpcmesh.call import ClientCall
from grpcmesh.clock import Clock, Rng

#: A new endpoint begins with this share of its share.
_FIRST_SHARE = 0.1
#: How often one that warms up may be passed over before the last drawn is taken.
_DRAWS = 10
#: Methods with a turn of their own; beyond that all start anew.
_MAX_METHODS = 1024
#: Share of the newest answer in the average of `TwoChoices`.
LEARN = 0.05


class SlowStart:
    """The weight of endpoints that are warming up, from a tenth to all, growing evenly with time.

    It is relative to the endpoint that is warmest: where all are new, as when a process starts, they
    have nobody to leave the work to, and share it evenly.

    Args:
        seconds: How long that takes; 0 switches it off.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self._seconds, self._clock = seconds, clock
        self._until = 0.0
        #: Whether anything has been warming up when this was looked at last: see `active`.
        self.begun = False
        self._oldest = 0.0

    def among(self, endpoints: Sequence[Endpoint]) -> None:
        """These are in rotation."""
        self._oldest = min((e.ready_since for e in endpoints), default=0.0)

    def begin(self, endpoint: Endpoint) -> None:
        """The endpoint comes into rotation now."""
        endpoint.ready_since = self._clock()
        self._until, self.begun = endpoint.ready_since + self._seconds, True

    @property
    def active(self) -> bool:
        """Whether anything is warming up: a look at the clock only until it is not."""
        if self.begun and self._clock() >= self._until:
            self.begun = False
        return self.begun

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

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        """Pick one for this call, another than `avoid` if there is any."""
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


class Turns:
    """Whose turn it is, by method.

    With one index for all methods, a caller that alternates two methods over two endpoints would send each
    method to one endpoint only. Each method starts anywhere, so that many clients do not march in step.
    """

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._by_method: dict[str, int] = {}

    def next(self, call: ClientCall | None) -> int:
        """Take this method's next turn: return its number."""
        path = call.method.path if call else ""
        number = self._by_method.get(path)
        if number is None:
            number = self.of(call)
            self.follow(call, number + 1)
        else:
            self._by_method[path] = number + 1
        return number

    def of(self, call: ClientCall | None) -> int:
        """The number of this method's next turn."""
        path = call.method.path if call else ""
        number = self._by_method.get(path)
        return int(self._rng.random() * 1_000_000) if number is None else number

    def follow(self, call: ClientCall | None, number: int) -> None:
        """Note the number of the turn that follows."""
        if len(self._by_method) >= _MAX_METHODS:
            self._by_method.clear()
        self._by_method[call.method.path if call else ""] = number


class RoundRobin(Policy):
    """Each in turn, method by method.

    An endpoint that warms up lets others go before: each time its turn comes it saves up its weight,
    and takes the turn when it has saved one.
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
    """Any."""

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        return self.draw(avoid, self.slow_start.active)


class TwoChoices(Policy):
    """The cheaper of some drawn at random, two by default.

    The power of two choices: Mitzenmacher, https://www.eecs.harvard.edu/~michaelm/postscripts/tpds2001.pdf
    An endpoint that warms up is drawn less often: were its cost raised instead, it would get nothing
    from a client that has few calls in flight.

    An endpoint that fails in no time has nothing in flight, and would be the cheapest of all. So a failed
    attempt keeps its place in flight until a typical answer would have come: then an endpoint that only
    fails looks like one that works, and draws its fair share.

    Args:
        choices: How many are drawn (gRFC A48: choiceCount).
    """

    wants_latency = True

    def __init__(self, slow_start: SlowStart, clock: Clock, rng: Rng, choices: int = 2) -> None:
        super().__init__(slow_start, clock, rng)
        self._choices = choices
        #: Seconds of an average answer of the target; 0: none has come.
        self.typical = 0.0

    def cost(self, endpoint: Endpoint) -> float:
        """Of one more call to this endpoint."""
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
        """Calls in flight, with the places that quick failures still hold."""
        lingering = endpoint.lingering
        if lingering:
            now = self.clock()
            while lingering and lingering[0] <= now:
                lingering.popleft()
        return endpoint.in_flight + len(lingering)


class LeastRequest(TwoChoices):
    """The one with the fewest calls in flight, of those drawn at random (gRFC A48)."""

    def cost(self, endpoint: Endpoint) -> float:
        return self.load(endpoint)
