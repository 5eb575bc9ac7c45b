"""The state of one logical call, from its first hook to its last.

| event             | NEW        | WAITING        | ATTEMPTING              | BACKOFF        | ENDED |
|-------------------|------------|----------------|-------------------------|----------------|-------|
| start             | pick       |                |                         |                |       |
| endpoints changed |            | pick           |                         |                |       |
| backoff over      |            |                |                         | pick           |       |
| hedge due         |            |                | pick, within the budget |                |       |
| begun             | ATTEMPTING | ATTEMPTING     | ATTEMPTING              | ATTEMPTING     |       |
| without endpoint  | WAITING or | WAITING or     | WAITING or              | WAITING or     |       |
|                   | as failed  | as failed      | as failed               | as failed      |       |
| attempt ended OK  |            |                | ENDED                   |                |       |
| attempt failed    |            |                | BACKOFF, ENDED or stays |                |       |
| end               | ENDED      | ENDED          | ENDED                   | ENDED          |       |

*pick*: the driver picks an endpoint and reports `begun` or `without_endpoint`; where the deadline has passed,
the call ends instead. *end* stands for `cancel`, `expire` and `fail`. An attempt that ends leaves the call
where another is still alive (hedging); the last one ends it, or sends it into BACKOFF where a retry is
allowed. With hedging, a code that is fatal ends the call at once, and another one may bring the next attempt
forward. An empty cell is an event that comes too late and changes nothing.
"""

import enum
from collections.abc import Sequence
from typing import Any

import grpc

from grpcmesh.call import ClientCall
from grpcmesh.client.machines.attempt import LiveAttempt
from grpcmesh.client.machines.status import Status
from grpcmesh.hedging import Hedging
from grpcmesh.retry import Failure, RetryPolicy, pushback_of


class CallState(enum.Enum):
    NEW = "new"
    WAITING = "waiting"
    ATTEMPTING = "attempting"
    BACKOFF = "backoff"
    ENDED = "ended"


class Do(enum.Enum):
    """The next action of the driver."""

    NOTHING = "nothing"
    #: Pick an endpoint and begin an attempt, or report that there is none.
    PICK = "pick"
    #: Report `endpoints_changed` when they do, and `expire` at the deadline.
    WAIT = "wait"
    #: Report `backoff_over` after `wait` seconds.
    BACKOFF = "backoff"
    #: Report `hedge_due` after `wait` seconds, while other attempts run.
    HEDGE = "hedge"
    #: Abandon the attempts that are still `live`, run the hooks of the end, and tell who waits.
    END = "end"


class Rules:
    """The rules for all calls of one method.

    Args:
        retry: Decides whether a failure is retried, within the target's budget.
        idempotent: Whether a server may see the call twice.
        resendable: Whether the request can be sent again: it is one message, not a stream.
        hedging: Decides when further attempts start beside those that run. If None, there are none.
        attempt_timeout: Seconds that one attempt may take; None sets no bound beside the call's deadline.
    """

    __slots__ = ("attempt_timeout", "hedging", "idempotent", "resendable", "retry")

    def __init__(
        self,
        retry: RetryPolicy,
        *,
        idempotent: bool,
        resendable: bool,
        hedging: Hedging | None = None,
        attempt_timeout: float | None = None,
    ) -> None:
        self.retry, self.idempotent, self.resendable = retry, idempotent, resendable
        self.hedging, self.attempt_timeout = hedging, attempt_timeout


_NEW, _WAITING, _ATTEMPTING, _BACKOFF, _ENDED = CallState
_OK, _UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


class CallMachine:
    """Decides what happens to a call. It ends exactly once, with one code.

    Args:
        call: The call, whose `attempts`, `endpoint` and `code` the machine sets.
        patient: Whether to wait for an endpoint until the deadline (gRPC's `wait_for_ready`).
    """

    # Fields that most calls never change are class attributes, so that a call has less to set up.
    state = _NEW
    #: The attempt whose answer the caller sees.
    winner: LiveAttempt | None = None
    #: How the call failed. None while it runs, and if it ended with OK.
    status: Status | None = None
    #: The endpoint that failed last. The next pick prefers another one.
    avoid: Any = None
    #: Seconds of the backoff.
    wait = 0.0
    #: Attempts that a server may have seen.
    sent = 0
    #: Whether no more hedges start, even when their delay is over.
    _hedged_enough = False

    def __init__(self, call: ClientCall, rules: Rules, patient: bool) -> None:
        self.call, self.patient = call, patient
        self._rules = rules
        #: Attempts that run, oldest first.
        self.live: list[LiveAttempt] = []

    def start(self, now: float) -> Do:
        """Start the call. The start hooks have run."""
        deadline = self.call.deadline
        if self.state is _NEW and (deadline is None or now < deadline):
            return Do.PICK
        return self._pick(now) if self.state is _NEW else Do.NOTHING

    def endpoints_changed(self, now: float) -> Do:
        """Handle a change of the endpoints: there is one to pick, or there is nothing left to wait for."""
        return self._pick(now) if self.state is _WAITING else Do.NOTHING

    def backoff_over(self, now: float) -> Do:
        """Handle the end of a retry's backoff."""
        return self._pick(now) if self.state is _BACKOFF else Do.NOTHING

    def begun(self, attempt: LiveAttempt) -> float | None:
        """Note that an endpoint has been picked and that the attempt is about to be sent.

        Returns:
            Seconds after which to report `hedge_due`; None if it is not to be reported.
        """
        call, hedging = self.call, self._rules.hedging
        self.state = _ATTEMPTING
        self.live.append(attempt)
        self.sent += 1
        call.attempts, call.endpoint = attempt.number, attempt.endpoint.address
        return None if hedging is None or self._hedged_enough else hedging.after_start(call.attempts)

    def hedge_due(self, now: float) -> Do:
        """Handle the end of the hedging delay: no answer has come, so another endpoint is tried as well."""
        hedging = self._rules.hedging
        if self.state is not _ATTEMPTING or self.winner is not None or self._hedged_enough:
            return Do.NOTHING
        if hedging is None or hedging.exhausted(self.call.attempts):
            return Do.NOTHING  # a failure has brought the last attempt forward
        if self.live:
            self.avoid = self.live[-1].endpoint
        return self._pick(now) if self._rules.retry.hedge(now) else Do.NOTHING

    def without_endpoint(self, now: float, may_wait: bool, why: str) -> Do:
        """Handle a pick that found no endpoint.

        Args:
            may_wait: Whether the call may wait for one.
            why: Why there is none, for the details of the failure.
        """
        if self.state is _ENDED or self.live:  # a hedge that finds no endpoint does not take place
            return Do.NOTHING
        if may_wait:
            self.state = _WAITING
            return Do.WAIT
        self.call.attempts += 1
        return self._failed(Status(_UNAVAILABLE, why, unsent=True), now)

    def delivered(self, attempt: LiveAttempt, now: float | None = None) -> Sequence[LiveAttempt]:
        """Note that the caller sees this attempt's answer. Return the other attempts, which have lost.

        Args:
            now: Clock time in seconds at which the answer began. Only given for a hedged stream.
        """
        attempt.deliver()
        self.winner = attempt
        if now is not None and self._rules.hedging is not None:
            self._rules.hedging.answered(now - attempt.started)
        return [other for other in self.live if other is not attempt]

    def attempt_ended(self, attempt: LiveAttempt, now: float) -> Do:
        """Handle the end of an attempt. Called once for each attempt, after `attempt.end` returned True."""
        if attempt in self.live:
            self.live.remove(attempt)
        if self.state is _ENDED:
            return Do.NOTHING
        status, rules = attempt.status, self._rules
        if status is None:
            rules.retry.ended(_OK, None)
            if rules.hedging is not None and attempt is not self.winner:
                rules.hedging.answered(now - attempt.started)
            self.winner, self.state, self.call.code = attempt, _ENDED, _OK
            return Do.END
        if attempt is self.winner:
            return self._end(status)
        if self.winner is not None:
            return Do.NOTHING  # one that has lost
        self.avoid = attempt.endpoint
        if rules.hedging is not None:
            return self._hedge_failed(rules.hedging, status, now)
        return Do.NOTHING if self.live else self._failed(status, now, attempt)

    def cancel(self, details: str) -> Do:
        """End the call with CANCELLED: the caller cancelled or dropped it, or closed the channel."""
        return self.fail(Status(grpc.StatusCode.CANCELLED, details, local=True))

    def expire(self, why: str = "") -> Do:
        """End the call with DEADLINE_EXCEEDED. `why` is appended to the details."""
        return self.fail(Status(grpc.StatusCode.DEADLINE_EXCEEDED, f"Deadline Exceeded{why}"))

    def fail(self, status: Status) -> Do:
        """End the call with a failure of this side, such as a layer's refusal or a request not sendable."""
        return Do.NOTHING if self.state is _ENDED else self._end(status)

    def _pick(self, now: float) -> Do:
        deadline = self.call.deadline
        return self.expire() if deadline is not None and now >= deadline else Do.PICK

    def _failed(self, status: Status, now: float, attempt: LiveAttempt | None = None) -> Do:
        """Decide, after the last live attempt has failed, whether the call is retried or ends."""
        wait = None
        if not status.final and (attempt is None or self._rules.resendable):
            wait = self._again(status, now)
        if wait is None:
            return self._end(status)
        self.state, self.wait = _BACKOFF, wait
        return Do.BACKOFF

    def _again(self, status: Status, now: float) -> float | None:
        call, rules = self.call, self._rules
        pushback = pushback_of(status.trailing)
        rules.retry.ended(status.code, pushback)
        failure = Failure(
            attempt=call.attempts,
            code=status.code,
            idempotent=rules.idempotent,
            unsent=status.unsent,
            patient=self.patient,
            pushback=pushback,
            late=self._late(status, now),
            remaining=None if call.deadline is None else call.deadline - now,
        )
        return rules.retry.again(failure, now)

    def _late(self, status: Status, now: float) -> bool:
        """Return whether the attempt ran into its own timeout while the call has time left."""
        if self._rules.attempt_timeout is None or status.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
            return False
        return self.call.deadline is None or now < self.call.deadline

    def _hedge_failed(self, hedging: Hedging, status: Status, now: float) -> Do:
        """Handle the failure of one attempt of a hedged call (gRFC A6)."""
        rules, attempts, pushback = self._rules, self.call.attempts, pushback_of(status.trailing)
        rules.retry.ended(status.code, pushback)
        forgiven = status.unsent or self._late(status, now)
        if status.final or (hedging.fatal(status.code) and not forgiven):
            return self._end(status)
        wait = None
        if not self._hedged_enough:
            wait = hedging.after_failure(status.code, attempts, pushback, forgiven)
        if wait is None or self._after_deadline(wait, now):
            self._hedged_enough = True
        elif rules.retry.hedge(now):
            return self._hedge_after(wait, now)
        return Do.NOTHING if self.live else self._end(status)

    def _after_deadline(self, wait: float, now: float) -> bool:
        """Return whether a server's pushback leads past the deadline of the call."""
        return bool(wait) and self.call.deadline is not None and now + wait >= self.call.deadline

    def _hedge_after(self, wait: float, now: float) -> Do:
        if not wait:
            return self._pick(now)
        self.wait = wait
        if self.live:
            return Do.HEDGE
        self.state = _BACKOFF
        return Do.BACKOFF

    def _end(self, status: Status | None) -> Do:
        self.state, self.status = _ENDED, status
        self.call.code = _OK if status is None else status.code
        return Do.END

    def __repr__(self) -> str:
        return f"<CallMachine {self.state.value} attempts={self.call.attempts} live={len(self.live)}>"
