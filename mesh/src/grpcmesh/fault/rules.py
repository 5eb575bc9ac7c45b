"""Which calls meet which fault. Pure: time and chance are parameters."""

import math
from dataclasses import dataclass

from grpcmesh.call import Method
from grpcmesh.clock import Clock, Rng
from grpcmesh.errors import ResourceExhausted

#: The pattern of every method.
EVERY_METHOD = "*"
#: Faults set at a time.
MOST_FAULTS = 100


class TooManyFaults(ResourceExhausted):
    """`MOST_FAULTS` are set already."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that is injected into a share of the calls of some methods."""

    method: str = EVERY_METHOD
    """`package.Service/Method`, `package.Service/*`, or `*`."""
    share: float = 1.0
    """The share of the calls, from 0 to 1."""
    delay: float = 0.0
    """Seconds for which a call is held before it goes on."""
    abort: str = ""
    """Name of the status code with which it then ends; empty: it is served."""

    def __str__(self) -> str:
        delay = f"delay {self.delay:g} s" if self.delay else ""
        abort = f"abort {self.abort}" if self.abort else ""
        return f"{', '.join(filter(None, (delay, abort)))}, share {self.share:g}"


class Rule:
    """A fault that is set.

    Args:
        fault: What it does.
        ends: Clock time at which it ends whatever happens; infinite: it does not.
        set_by: The workload that set it.
        lease_ends: Clock time at which it ends unless its lease is renewed; infinite: it has none.
    """

    __slots__ = ("ends", "fault", "hits", "lease_ends", "set_by")

    def __init__(self, fault: Fault, ends: float, set_by: str, lease_ends: float = math.inf) -> None:
        self.fault, self.ends, self.set_by, self.lease_ends = fault, ends, set_by, lease_ends
        #: Calls that it has met.
        self.hits = 0

    @property
    def leased(self) -> bool:
        """Return whether the fault ends unless somebody renews it."""
        return math.isfinite(self.lease_ends)

    @property
    def over_at(self) -> float:
        """Clock time at which it ends, as things stand."""
        return min(self.ends, self.lease_ends)

    def __repr__(self) -> str:
        return f"<Rule {self.fault.method}: {self.fault}, {self.hits} hits>"


class Faults:
    """The faults of this process, one a pattern at most.

    Args:
        clock: Monotonic seconds.
        rng: Draws the share.
    """

    def __init__(self, clock: Clock, rng: Rng) -> None:
        self._clock, self._rng = clock, rng
        #: By pattern. Always the same dictionary: an empty one is all that a call without faults looks at.
        self.rules: dict[str, Rule] = {}

    def set(
        self, fault: Fault, lasts: float | None = None, set_by: str = "", lease: float | None = None
    ) -> Rule | None:
        """Puts a fault in the place of the one that its pattern had, or renews the lease of the same fault.

        Args:
            fault: What is to happen.
            lasts: Seconds after which it ends by itself; None: it does not.
            set_by: The workload that wants it.
            lease: Seconds after which it ends unless the same workload sets it again; None: it has no lease.

        Returns:
            The fault whose place it took; None where there was none, or its lease was renewed.

        Raises:
            TooManyFaults: this one would be too many.
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
        """Ends the fault of a pattern, or all; returns what was set."""
        self.expire()
        patterns = [pattern] if pattern else list(self.rules)
        return [self.rules.pop(p) for p in patterns if p in self.rules]

    def decide(self, method: Method) -> Rule | None:
        """The fault that a call meets, counted; None where it is spared."""
        self.expire()
        rule = self._narrowest(method)
        if rule is None or self._rng.random() >= rule.fault.share:
            return None
        rule.hits += 1
        return rule

    def remaining(self, rule: Rule) -> float | None:
        """Seconds until a fault ends by itself; None: it does not."""
        left = rule.over_at - self._clock()
        return max(0.0, left) if math.isfinite(left) else None

    def hold_until(self, rule: Rule) -> float:
        """The clock time until which it holds a call that it meets now, should it last so long."""
        return self._clock() + rule.fault.delay

    def holds(self, rule: Rule, until: float) -> float:
        """Seconds for which it still holds a call, as things stand: no longer than it lasts itself.

        A lease may have been renewed by then: ask again.
        """
        return max(0.0, min(until, rule.over_at) - self._clock())

    def is_set(self, rule: Rule) -> bool:
        """Return whether this fault is still the one in force for its pattern."""
        self.expire()
        return self.rules.get(rule.fault.method) is rule

    def expire(self) -> None:
        """Forgets those whose time is over."""
        now = self._clock()
        for pattern, rule in list(self.rules.items()):
            if rule.over_at <= now:
                del self.rules[pattern]

    def _narrowest(self, method: Method) -> Rule | None:
        rules = self.rules
        return (
            rules.get(method.full_name) or rules.get(f"{method.service}/*") or rules.get(EVERY_METHOD)
        )  # fmt: skip
