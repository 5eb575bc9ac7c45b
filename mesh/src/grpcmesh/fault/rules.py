"""Decides which calls get which fault. Pure: the clock and the random generator are parameters."""

import asyncio
import math
import sys
from dataclasses import dataclass

from grpcmesh.call import Method
from grpcmesh.clock import Clock, Rng
from grpcmesh.errors import ResourceExhausted

#: The pattern for every method.
EVERY_METHOD = "*"
#: The most faults that are set at the same time.
MOST_FAULTS = 100


class TooManyFaults(ResourceExhausted):
    """Raised if `MOST_FAULTS` faults are set already."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that is injected into a share of the calls of some methods."""

    method: str = EVERY_METHOD
    """Pattern of the methods: `package.Service/Method`, `package.Service/*`, or `*`."""
    share: float = 1.0
    """Share of the calls that get the fault, from 0 to 1."""
    delay: float = 0.0
    """Seconds for which a call is held before it continues."""
    abort: str = ""
    """Name of the status code with which the call then ends. If empty, it is served."""
    concurrency: int = 0
    """The most calls that are delayed at the same time. More wait for their turn. 0: no limit."""

    def __str__(self) -> str:
        delay = f"delay {self.delay:g} s" if self.delay else ""
        delay += f" for {self.concurrency} at a time" if self.concurrency else ""
        abort = f"abort {self.abort}" if self.abort else ""
        return f"{', '.join(filter(None, (delay, abort)))}, share {self.share:g}"


class Rule:
    """A fault that is set.

    Args:
        fault: The fault.
        ends: Clock time (s) at which it ends in any case; infinite if it does not end by itself.
        set_by: The workload that set it.
        lease_ends: Clock time (s) at which it ends unless its lease is renewed; infinite without a lease.
    """

    __slots__ = ("ends", "fault", "hits", "lease_ends", "places", "set_by")

    def __init__(self, fault: Fault, ends: float, set_by: str, lease_ends: float = math.inf) -> None:
        self.fault, self.ends, self.set_by, self.lease_ends = fault, ends, set_by, lease_ends
        #: Number of calls that got the fault.
        self.hits = 0
        #: The places of the calls that are delayed. First come, first served.
        self.places = asyncio.Semaphore(fault.concurrency or sys.maxsize)

    @property
    def leased(self) -> bool:
        """Return whether the fault has a lease, so that it ends unless the lease is renewed."""
        return math.isfinite(self.lease_ends)

    @property
    def over_at(self) -> float:
        """Return the clock time (s) at which it ends, unless its lease is renewed."""
        return min(self.ends, self.lease_ends)

    def __repr__(self) -> str:
        return f"<Rule {self.fault.method}: {self.fault}, {self.hits} hits>"


class Faults:
    """Holds the faults of this process: at most one for each pattern.

    Args:
        clock: Monotonic seconds.
        rng: Draws which calls get a fault.
    """

    def __init__(self, clock: Clock, rng: Rng) -> None:
        self._clock, self._rng = clock, rng
        #: The faults by pattern. It is always the same dictionary, because `FaultLayer` keeps a reference to
        #: it.
        self.rules: dict[str, Rule] = {}

    def set(
        self, fault: Fault, lasts: float | None = None, set_by: str = "", lease: float | None = None
    ) -> Rule | None:
        """Set a fault in place of the pattern's current one, or renew the lease of the same fault.

        Args:
            fault: The fault.
            lasts: Seconds after which it ends by itself; None if it does not.
            set_by: The workload that sets it.
            lease: Seconds after which it ends unless the same workload sets it again; None for no lease.

        Returns:
            The fault that was replaced; None if there was none, or only the lease was renewed.

        Raises:
            TooManyFaults: `MOST_FAULTS` faults are set already.
        """
        self.expire()
        now = self._clock()
        before = self.rules.get(fault.method)
        if (
            lease is not None
            and before
            and before.leased
            and (before.fault, before.set_by) == (fault, set_by)
        ):
            before.lease_ends = now + lease
            return None
        if fault.method not in self.rules and len(self.rules) >= MOST_FAULTS:
            raise TooManyFaults(f"{MOST_FAULTS} faults are set already: clear some first", None)
        ends, lease_ends = (math.inf if s is None else now + s for s in (lasts, lease))
        self.rules[fault.method] = Rule(fault, ends, set_by, lease_ends)
        return before

    def clear(self, pattern: str = "") -> list[Rule]:
        """End the fault of a pattern, or all faults if it is empty. Return those that were set."""
        self.expire()
        patterns = [pattern] if pattern else list(self.rules)
        return [self.rules.pop(p) for p in patterns if p in self.rules]

    def decide(self, method: Method) -> Rule | None:
        """Return the fault that a call gets, and count it. Return None if the call gets none."""
        self.expire()
        rule = self._narrowest(method)
        if rule is None or self._rng.random() >= rule.fault.share:
            return None
        rule.hits += 1
        return rule

    def remaining(self, rule: Rule) -> float | None:
        """Return the seconds until a fault ends by itself, or None if it does not."""
        left = rule.over_at - self._clock()
        return max(0.0, left) if math.isfinite(left) else None

    def hold_until(self, rule: Rule) -> float:
        """Return the clock time (s) until which a fault holds a call that arrives now, if it is still set."""
        return self._clock() + rule.fault.delay

    def holds(self, rule: Rule, until: float) -> float:
        """Return the seconds for which a fault still holds a call: at most until the fault ends.

        Its lease may be renewed meanwhile, so ask again afterwards.
        """
        return max(0.0, min(until, rule.over_at) - self._clock())

    def is_set(self, rule: Rule) -> bool:
        """Return whether this fault is still the one in force for its pattern."""
        self.expire()
        return self.rules.get(rule.fault.method) is rule

    def expire(self) -> None:
        """Remove the faults whose time is over."""
        now = self._clock()
        for pattern, rule in list(self.rules.items()):
            if rule.over_at <= now:
                del self.rules[pattern]

    def _narrowest(self, method: Method) -> Rule | None:
        rules = self.rules
        return (
            rules.get(method.full_name) or rules.get(f"{method.service}/*") or rules.get(EVERY_METHOD)
        )  # fmt: skip
