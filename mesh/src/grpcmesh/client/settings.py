"""What the settings of a target come to for each of its methods."""

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
    """Of the calls of one method on one channel.

    Args:
        rules: What the call machine goes by.
        config: Of the method; None: nobody has set anything for it.
    """

    __slots__ = ("max_request", "max_response", "rules", "timeout", "wait_for_ready")

    def __init__(self, rules: Rules, config: MethodConfig | None) -> None:
        self.rules = rules
        self.wait_for_ready = bool(config and config.wait_for_ready)
        #: Seconds that a call may take at most; None: as its caller says.
        self.timeout = config.timeout if config else None
        #: Bytes of one message; None: as the channel arguments say.
        self.max_request = config.max_request_message_bytes if config else None
        self.max_response = config.max_response_message_bytes if config else None


class Settings:
    """Of one channel. They may change while calls run: a call keeps those that it began with.

    Args:
        config: Of the process; it holds where the service config is silent.
        effective: The service config in force for the target.
        budget: Of the target's retries and hedges.
    """

    def __init__(
        self, config: MeshConfig, effective: Effective, budget: RetryBudget, clock: Clock, rng: Rng
    ) -> None:
        self._budget, self._clock, self._rng = budget, clock, rng
        self._retry, self._watch_health = settings_of(config.retry), config.health.watch
        self.take(effective)

    def take(self, effective: Effective) -> None:
        """From now on these hold. The specs have to be told (`of`)."""
        self.effective = effective
        throttling = effective.config.retry_throttling
        self._budget.throttle = Throttle(throttling) if throttling else None

    @property
    def outlier_detection(self) -> OutlierDetection | None:
        """None: nothing is ejected, since a balancing was set that has none."""
        balancing = self.effective.config.load_balancing
        return OUTLIER_DETECTION if balancing is None else balancing.outlier_detection

    @property
    def circuit_breaker(self) -> CircuitBreaker:
        return self.effective.config.circuit_breaker or CIRCUIT_BREAKER

    def wanted(self, services: frozenset[str] = frozenset()) -> Wanted:
        """Return what is followed of each endpoint.

        Args:
            services: Those that are called.
        """
        check = self.effective.config.health_check
        if not self._watch_health:
            return Wanted(None, reports=self._report_interval)
        if check is None:
            return Wanted("", services, self._report_interval)
        return Wanted(check.service_name, reports=self._report_interval)

    @property
    def subset_size(self) -> int | None:
        """How many endpoints are used (gRFC A68); None: all."""
        balancing = self.effective.config.load_balancing
        return balancing.subset_size if balancing else None

    @property
    def _report_interval(self) -> float | None:
        """Seconds between two load reports out of band; None: there are none (gRFC A58)."""
        balancing = self.effective.config.load_balancing
        if balancing is None or not balancing.parameters.get("enable_oob_load_report"):
            return None
        return float(balancing.parameters.get("oob_reporting_period", REPORTING_PERIOD))

    def of(self, method: Method) -> MethodSettings:
        """Return what holds for a method now."""
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
    """Whether calls of the method may be hedged: one request, and declared free of side effects."""
    return not method.kind.request_streaming and has_no_side_effects(method)
