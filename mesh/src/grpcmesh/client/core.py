"""What the calls of one channel share."""

from collections.abc import Callable, Sequence

import grpc

from grpcmesh.balancer import Balancer, Verdict
from grpcmesh.call import ClientCall, ClientLayer
from grpcmesh.client.pool import Pool, Waiter
from grpcmesh.clock import Clock
from grpcmesh.resolver import Resolver
from grpcmesh.retry import RetryBudget, RetryPolicy

#: Calls that may wait for an endpoint at a time; more fail at once.
_MAX_WAITING = 10_000

_Hook = Callable[[ClientCall], None]


class Core:
    """The parts of a channel, as a call needs them.

    Args:
        layers: The logical stack, outermost first. Only hooks that a layer overrides cost anything.
    """

    def __init__(
        self,
        target: str,
        clock: Clock,
        balancer: Balancer,
        resolver: Resolver,
        pool: Pool,
        retry: RetryPolicy,
        budget: RetryBudget,
        layers: Sequence[ClientLayer],
    ) -> None:
        self.target, self.clock, self.balancer, self.resolver = target, clock, balancer, resolver
        self.pool, self.retry, self.budget = pool, retry, budget
        starting = [i for i, x in enumerate(layers) if type(x).on_start is not ClientLayer.on_start]
        self.starts: list[_Hook] = [layers[i].on_start for i in starting]
        self.attempts: list[Callable[[ClientCall, grpc.StatusCode], None]] = [
            x.on_attempt for x in layers if type(x).on_attempt is not ClientLayer.on_attempt
        ]
        self.layers = layers
        #: What to run at the end, by how many of `starts` have returned.
        self.unwinds: list[list[_Hook]] = [_ends(layers[:i]) for i in (*starting, len(layers))]

    def should_wait(self, waiter: Waiter) -> bool:
        """Whether a call without an endpoint waits for one, or fails now."""
        if len(self.pool.waiting) >= _MAX_WAITING:
            return False
        return waiter.wait_for_ready or self.balancer.verdict is Verdict.WAIT

    def connectivity(self, started: bool) -> grpc.ChannelConnectivity:
        """As gRPC names it."""
        if self.balancer.rotation:
            return grpc.ChannelConnectivity.READY
        if not started:
            return grpc.ChannelConnectivity.IDLE
        waiting = self.balancer.verdict is Verdict.WAIT
        return grpc.ChannelConnectivity.CONNECTING if waiting else grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def why(self) -> str:
        """Why there is no endpoint."""
        return f"{self.balancer.why()}{f': {self.resolver.error}' if self.resolver.error else ''}"


def _ends(layers: Sequence[ClientLayer]) -> list[_Hook]:
    return [x.on_end for x in reversed(layers) if type(x).on_end is not ClientLayer.on_end]
