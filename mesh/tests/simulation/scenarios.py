"""The runs: what goes wrong, for how many, and what is on."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from grpcmesh.admission import ConcurrencyLimit, Gate
from grpcmesh.client.machines import Status
from grpcmesh.config import RetryConfig
from grpcmesh.service_config import HedgingPolicy
from grpcmesh.service_config.defaults import OUTLIER_DETECTION
from tests.simulation.client import Client
from tests.simulation.server import UNAVAILABLE, Server
from tests.simulation.world import HOME, METHOD, WIRE, Second, Settings, World

Happening = Callable[[World, list[Server], list[Client]], None]

#: Retries without a budget, as many clients make them.
NAIVE_RETRIES = RetryConfig(max_attempts=4, budget_ratio=1.0, budget_floor=1e9)


@dataclass(frozen=True)
class Size:
    """The numbers of clients and servers, the calls per second of a client, and the seconds of a run."""

    clients: int = 1000
    servers: int = 300
    rate: float = 2.0
    seconds: int = 30


SMALL = Size(clients=100, servers=30, rate=4.0, seconds=20)
FULL = Size()


@dataclass
class Run:
    """The result of a run."""

    seconds: list[Second]
    servers: list[Server]
    clients: list[Client]

    def good(self, begin: int = 0, end: int | None = None) -> float:
        """Return the share of calls that succeeded."""
        chosen = self.seconds[begin:end]
        return sum(s.good for s in chosen) / max(1, sum(s.calls for s in chosen))

    def amplification(self, begin: int = 0, end: int | None = None) -> float:
        """Return the number of attempts per call."""
        chosen = self.seconds[begin:end]
        return sum(s.attempts for s in chosen) / max(1, sum(s.calls for s in chosen))

    def p99(self, begin: int = 0, end: int | None = None) -> float:
        """Return the 99th percentile of latency, in seconds."""
        merged = Second(latencies=[x for s in self.seconds[begin:end] for x in s.latencies])
        return merged.percentile(0.99)


def simulate(
    size: Size,
    settings: Settings,
    happens: Happening,
    *,
    seed: int = 1,
    load: float = 0.5,
    admission: bool = False,
    seconds: float = 0.02,
) -> Run:
    """Run clients against servers.

    Args:
        happens: Schedules the failures.
        load: Offered load, as a share of the capacity of all servers.
        admission: Whether servers refuse calls that they cannot answer in time.
        seconds: Duration of a call.
    """
    world = World(seed)
    log = [Second() for _ in range(size.seconds)]
    places = max(1, round(size.clients * size.rate / size.servers * seconds / load))
    # What places cannot express is left to the time that a call takes. One place may be more than is needed.
    seconds = min(seconds, places * load * size.servers / (size.clients * size.rate))
    gates = [_gate(world) if admission else None for _ in range(size.servers)]
    servers = [Server(world, places, seconds, gate) for gate in gates]
    clients = [Client(world, servers, settings, log) for _ in range(size.clients)]
    happens(world, servers, clients)
    for client in clients:
        _call_on(world, client, size)
    world.run(size.seconds + settings.timeout + 1)
    return Run(log, servers, clients)


def _gate(world: World) -> Gate:
    return Gate(None, ConcurrencyLimit(1, 1000, world.clock), 1000, 1 << 40, 1)


def _call_on(world: World, client: Client, size: Size) -> None:
    def call() -> None:
        if world.clock() < size.seconds:
            client.call()
            world.after(world.rng.expovariate(size.rate), call)

    world.after(world.rng.expovariate(size.rate), call)


def nothing(world: World, servers: list[Server], clients: list[Client]) -> None:
    """Cause no failure."""


def outage(share: float, begin: float, end: float) -> Happening:
    """Make a share of the servers unreachable for a while. Callers notice."""

    def happens(world: World, servers: list[Server], clients: list[Client]) -> None:
        def turn(up: bool) -> None:
            for server in servers[: int(share * len(servers))]:
                server.up = up
            for client in clients:
                client.follow()

        world.after(begin, lambda: turn(False))
        world.after(end, lambda: turn(True))

    return happens


def failing(share: float, begin: float, end: float) -> Happening:
    """Cause a grey failure: a share of the servers says SERVING but answers UNAVAILABLE at once."""

    def happens(world: World, servers: list[Server], clients: list[Client]) -> None:
        def turn(fails: Status | None) -> None:
            for server in servers[: max(1, int(share * len(servers)))]:
                server.fails = fails

        world.after(begin, lambda: turn(Status(UNAVAILABLE, "sick")))
        world.after(end, lambda: turn(None))

    return happens


def not_serving(share: float, begin: float, end: float, watched: bool) -> Happening:
    """Make a share of the servers answer UNAVAILABLE to one service, and say NOT_SERVING for it.

    Args:
        watched: Whether callers follow the health of that service.
    """

    def happens(world: World, servers: list[Server], clients: list[Client]) -> None:
        failing(share, begin, end)(world, servers, clients)

        def hear() -> None:
            for client in clients:
                for endpoint, server in client.endpoints.items():
                    client.balancer.set_serving(endpoint, METHOD.service, server.fails is None)

        for at in (begin, end) if watched else ():
            world.after(at + WIRE, hear)

    return happens


def slow(share: float, factor: float, begin: float, end: float) -> Happening:
    """Make a share of the servers slower by `factor`."""

    def happens(world: World, servers: list[Server], clients: list[Client]) -> None:
        def turn(by: float) -> None:
            for server in servers[: max(1, int(share * len(servers)))]:
                server.seconds *= by

        world.after(begin, lambda: turn(factor))
        world.after(end, lambda: turn(1 / factor))

    return happens


def hanging(share: float, begin: float, end: float) -> Happening:
    """Make a share of the servers accept calls and answer none."""

    def happens(world: World, servers: list[Server], clients: list[Client]) -> None:
        def turn(hangs: bool) -> None:
            for server in servers[: max(1, int(share * len(servers)))]:
                server.hangs = hangs

        world.after(begin, lambda: turn(True))
        world.after(end, lambda: turn(False))

    return happens


def zone_away(*steps: tuple[float, int]) -> Happening:
    """Put half of the servers in the clients' zone. From each of the times on, so many of them are away."""

    def happens(world: World, servers: list[Server], clients: list[Client]) -> None:
        near = servers[: len(servers) // 2]
        for server in servers:
            server.zone = HOME if server in near else "b"
        for client in clients:
            for endpoint, server in client.endpoints.items():
                client.balancer.set_zone(endpoint, server.zone)

        def turn(away: int) -> None:
            for index, server in enumerate(near):
                server.up = index >= away
            for client in clients:
                client.follow()

        for begin, away in steps:
            world.after(begin, lambda away=away: turn(away))  # type: ignore[misc]

    return happens


def rolling_restart(begin: float, pause: float, opened: Callable[[float, int], None]) -> Happening:
    """Restart the servers one after the other, with new addresses, which all callers learn.

    Args:
        opened: Called with the time and the number of connections that this opens.
    """

    def happens(world: World, servers: list[Server], clients: list[Client]) -> None:
        by_address = {f"10.0.0.{i}:50051": server for i, server in enumerate(servers)}
        for client in clients:
            client.resolve(by_address)

        def restart(index: int) -> None:
            by_address[f"10.1.0.{index}:50051"] = by_address.pop(f"10.0.0.{index}:50051")
            opened(world.clock(), sum(client.resolve(by_address) for client in clients))

        for index in range(len(servers)):
            world.after(begin + index * pause, lambda index=index: restart(index))  # type: ignore[misc]

    return happens


#: The settings, with and without a feature, that the docs and the tests compare.
ON = Settings(outlier_detection=OUTLIER_DETECTION)
OFF = replace(ON, outlier_detection=None)
HEDGED = replace(OFF, hedging=HedgingPolicy(2, 0.0, 95.0, frozenset({UNAVAILABLE})))
ZONED = replace(OFF, zone=HOME)
WEIGHTED = replace(
    OFF, policy="weighted_round_robin", parameters={"blackout_period": 1.0, "weight_update_period": 1.0}
)
KEYED = replace(OFF, keys=500)
AFFINE = replace(KEYED, policy="ring_hash", parameters={"request_hash_header": "user"})
