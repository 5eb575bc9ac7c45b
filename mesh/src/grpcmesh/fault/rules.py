"""Which calls meet which fault. Pure: time and chance are parameters."""

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
    """What happens to a share of the calls of some methods."""

    method: str = EVERY_METHOD
    """`package.Service/Method`, `package.Service/*`, or `*`."""
    share: float = 1.0
    """How many of the calls, from 0 to 1."""
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
        ends: Clock time at which it ends by itself; None: it does not.
        set_by: The workload that set it.
    """

    __slots__ = ("ends", "fault", "hits", "set_by")

    def __init__(self, fault: Fault, ends: float | None, set_by: str) -> None:
        self.fault, self.ends, self.set_by = fault, ends, set_by
        #: Calls that it has met.
        self.hits = 0

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

    def set(self, fault: Fault, lasts: float | None = None, set_by: str = "") -> Rule | None:
        """Puts a fault in the place of the one that its pattern had; returns that.

        Args:
            fault: What is to happen.
            lasts: Seconds after which it ends by itself; None: it does not.
            set_by: The workload that wants it.

        Raises:
            TooManyFaults: this one would be too many.
        """
        self.expire()
        if fault.method not in self.rules and len(self.rules) >= MOST_FAULTS:
            raise TooManyFaults(f"{MOST_FAULTS} faults are set already: clear some first", None)
        before = self.rules.get(fault.method)
        self.rules[fault.method] = Rule(fault, None if lasts is None else self._clock() + lasts, set_by)
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
        return None if rule.ends is None else max(0.0, rule.ends - self._clock())

    def holds(self, rule: Rule) -> float:
        """Seconds for which it holds a call that it meets now: no longer than it lasts itself."""
        remaining = self.remaining(rule)
        return rule.fault.delay if remaining is None else min(rule.fault.delay, remaining)

    def is_set(self, rule: Rule) -> bool:
        """Whether it is still this one that its pattern has."""
        self.expire()
        return self.rules.get(rule.fault.method) is rule

    def expire(self) -> None:
        """Forgets those whose time is over."""
        now = self._clock()
        for pattern, rule in list(self.rules.items()):
            if rule.ends is not None and rule.ends <= now:
                del self.rules[pattern]

    def _narrowest(self, method: Method) -> Rule | None:
        rules = self.rules
        return (
            rules.get(method.full_name) or rules.get(f"{method.service}/*") or rules.get(EVERY_METHOD)
        )  # fmt: skip
