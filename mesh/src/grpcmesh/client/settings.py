"""Computes the settings of each method of a target from the configuration and the service config."""

from grpcmesh.call import Method
from grpcmesh.client.machines import Rules
from grpcmesh.client.watches import Wanted
from grpcmesh.clock import Clock, Rng
from grpcmesh.config import MeshConfig
from grpcmesh.hedging import Hedging
from grpcmesh.retry import RetryBudget, RetryPolicy, Throttle, has_no_side_effects, is_idempotent, settings_of
from grpcmesh.service_config import CircuitBreaker, Effective, MethodConfig, MethodName, OutlierDetection
from grpcmesh.service_config.defaults import CIRCUIT_BREAKER, OUTLIER_DETECTION

#: gRFC A58: the default of `oobReportingPeriod`, in seconds.
REPORTING_PERIOD = 10.0


class MethodSettings:
    """The settings for calls of one method on one channel.

    Args:
        rules: The rules for the call machine.
        config: The method's part of the service config; None if there is none.
    """

    __slots__ = ("max_request", "max_response", "rules", "timeout", "wait_for_ready")

    def __init__(self, rules: Rules, config: MethodConfig | None) -> None:
        self.rules = rules
        self.wait_for_ready = bool(config and config.wait_for_ready)
        #: Seconds that a call may take at most; None sets no bound beside the caller's own timeout.
        self.timeout = config.timeout if config else None
        #: Bytes of one message at most; None leaves it to the channel arguments.
        self.max_request = config.max_request_message_bytes if config else None
        self.max_response = config.max_response_message_bytes if config else None


class Settings:
    """The settings of one channel. They may change while calls run; a call keeps those it began with.

    Args:
        config: Settings of the process, used where the service config sets nothing.
        effective: The service config in force for the target.
        budget: Budget for the target's retries and hedges.
    """

    def __init__(
        self, config: MeshConfig, effective: Effective, budget: RetryBudget, clock: Clock, rng: Rng
    ) -> None:
        self._budget, self._clock, self._rng = budget, clock, rng
        self._retry, self._watch_health = settings_of(config.retry), config.health.watch
        self.take(effective)

    def take(self, effective: Effective) -> None:
        """Replace the service config in force. The caller has to call `Spec.configure` of each spec."""
        self.effective = effective
        throttling = effective.config.retry_throttling
        self._budget.throttle = Throttle(throttling) if throttling else None

    @property
    def outlier_detection(self) -> OutlierDetection | None:
        """Return the parameters of outlier detection, or None if the policy set for the target has none."""
        balancing = self.effective.config.load_balancing
        return OUTLIER_DETECTION if balancing is None else balancing.outlier_detection

    @property
    def circuit_breaker(self) -> CircuitBreaker:
        return self.effective.config.circuit_breaker or CIRCUIT_BREAKER

    def wanted(self, services: frozenset[str] = frozenset()) -> Wanted:
        """Return what to watch at each endpoint.

        Args:
            services: Full names of the services that are called.
        """
        check = self.effective.config.health_check
        if not self._watch_health:
            return Wanted(None, reports=self._report_interval)
        if check is None:
            return Wanted("", services, self._report_interval)
        return Wanted(check.service_name, reports=self._report_interval)

    @property
    def subset_size(self) -> int | None:
        """Return how many endpoints are used (gRFC A68); None means all."""
        balancing = self.effective.config.load_balancing
        return balancing.subset_size if balancing else None

    @property
    def _report_interval(self) -> float | None:
        """Return the seconds between two out-of-band load reports (gRFC A58); None if there are none."""
        balancing = self.effective.config.load_balancing
        if balancing is None or not balancing.parameters.get("enable_oob_load_report"):
            return None
        return float(balancing.parameters.get("oob_reporting_period", REPORTING_PERIOD))

    def of(self, method: Method) -> MethodSettings:
        """Return the settings of a method that are in force now."""
        config = self.effective.config.method(method.service, method.name)
        retry = config.retry_policy if config and config.retry_policy else self._retry
        hedging = config.hedging_policy if config else None
        # A method that is named in full with a retry policy has been declared safe to repeat by that.
        named = bool(
            config and config.retry_policy and MethodName(method.service, method.name) in config.names
        )
        rules = Rules(
            RetryPolicy(retry, self._budget, self._rng),
            idempotent=named or is_idempotent(method),
            resendable=not method.kind.request_streaming,
            hedging=Hedging(hedging, self._clock) if hedging and may_hedge(method) else None,
            attempt_timeout=None if method.kind.response_streaming else retry.per_attempt_recv_timeout,
        )
        return MethodSettings(rules, config)


def may_hedge(method: Method) -> bool:
    """Return whether calls of the method may be hedged: it has one request and declares no side effects."""
    return not method.kind.request_streaming and has_no_side_effects(method)
