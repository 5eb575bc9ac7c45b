"""The Prometheus metrics of a channel. They are read from plain attributes at scrape time."""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.balancer import Endpoint, State
from grpcmesh.client.core import Core


def collect(core: Core) -> Iterable[Metric]:
    """Return the metric families of one target.

    The series of an endpoint end when it is no longer resolved and its calls have ended.
    """
    endpoints = list(core.balancer.endpoints.values())
    known = {e.address for e in endpoints}
    leaving = {e.address: e for e in core.pool.draining.values() if e.address not in known}
    return [
        *_of_endpoints(core.target, [*endpoints, *leaving.values()]),
        *_of_target(core),
        *_zones(core),
        _drains(core),
        *core.resolver.collect(),
        *core.tasks.collect(),
        *(core.pool.guards.collect() if core.pool.guards else ()),
        *core.errors.collect(),
        *(family for layer in core.layers for family in layer.metrics(core.target)),
        *(family for layer in core.attempt_layers for family in layer.metrics(core.target)),
    ]


def _of_endpoints(target: str, endpoints: list[Endpoint]) -> Iterable[Metric]:
    labels = ["target", "endpoint"]
    state = GaugeMetricFamily(
        "mesh_endpoint_state", "1 for the endpoint's state, 0 for others.", labels=[*labels, "state"]
    )
    requests = CounterMetricFamily(
        "mesh_endpoint_requests", "Attempts that ended, by endpoint and code.", labels=[*labels, "grpc_code"]
    )
    in_flight = GaugeMetricFamily("mesh_endpoint_in_flight", "Attempts in flight.", labels=labels)
    picks = CounterMetricFamily("mesh_picks", "Picks of the endpoint by the balancer.", labels=labels)
    denied = GaugeMetricFamily(
        "mesh_endpoint_not_serving",
        "1 for a service that the endpoint says it does not serve, while its process as a whole does.",
        labels=[*labels, "service"],
    )
    for e in endpoints:
        for service in e.not_serving:
            denied.add_metric([target, e.address, service], 1)
        for each in State:
            state.add_metric([target, e.address, each.value], int(e.state is each))
        in_flight.add_metric([target, e.address], e.in_flight)
        picks.add_metric([target, e.address], e.picks)
        # What an endpoint that dies answers is there from the start, so that its first burst has a rate.
        for code, count in {"OK": e.successes, "UNAVAILABLE": 0, **e.failures}.items():
            requests.add_metric([target, e.address, _label(code)], count)
    return state, requests, in_flight, picks, denied


def _label(code: str) -> str:
    """Return a status code as public dashboards write it: `NotFound` for `NOT_FOUND`; `OK` stays."""
    return code if code == "OK" else code.title().replace("_", "")


def _of_target(core: Core) -> Iterable[Metric]:
    values: list[tuple[CounterMetricFamily | GaugeMetricFamily, float]] = [
        (
            CounterMetricFamily("mesh_retries", "Attempts after the first.", labels=["target"]),
            core.budget.retries,
        ),
        (
            CounterMetricFamily(
                "mesh_hedges",
                "Hedged attempts; they are part of the attempts after the first.",
                labels=["target"],
            ),
            core.budget.hedges,
        ),
        (
            CounterMetricFamily(
                "mesh_retries_throttled",
                "Retries and hedges not made because of retryThrottling.",
                labels=["target"],
            ),
            core.budget.throttled,
        ),
        (
            CounterMetricFamily(
                "mesh_retry_pushbacks",
                "Attempts whose server asked to be retried later, or not at all.",
                labels=["target"],
            ),
            core.budget.pushbacks,
        ),
        (
            CounterMetricFamily(
                "mesh_retry_budget_exhausted",
                "Retries not made because the retry budget was used up.",
                labels=["target"],
            ),
            core.budget.exhausted,
        ),
        (
            GaugeMetricFamily("mesh_calls_waiting", "Calls that wait for an endpoint.", labels=["target"]),
            len(core.pool.waiting),
        ),
        (
            GaugeMetricFamily(
                "mesh_endpoints_in_rotation",
                "Endpoints in rotation: the balancer picks from them.",
                labels=["target"],
            ),
            len(core.balancer.rotation),
        ),
        (
            GaugeMetricFamily("mesh_endpoints_resolved", "Endpoints of the target.", labels=["target"]),
            len(core.pool.resolved),
        ),
        (
            GaugeMetricFamily(
                "mesh_endpoints_used", "Endpoints that this client connects to.", labels=["target"]
            ),
            len(core.balancer.endpoints),
        ),
        (
            GaugeMetricFamily(
                "mesh_retry_budget_spent", "Retries of the last ten seconds.", labels=["target"]
            ),
            core.budget.spent(core.clock()),
        ),
        (
            GaugeMetricFamily(
                "mesh_retry_budget_allowed",
                "Retries that the retry budget allows in ten seconds.",
                labels=["target"],
            ),
            core.budget.allowed,
        ),
    ]
    for family, value in values:
        family.add_metric([core.target], value)
    return [family for family, _ in values]


def _zones(core: Core) -> Iterable[Metric]:
    zone = GaugeMetricFamily(
        "mesh_endpoint_zone", "1 for the zone of the endpoint.", labels=["target", "endpoint", "zone"]
    )
    for e in core.balancer.endpoints.values():
        if e.zone:
            zone.add_metric([core.target, e.address, e.zone], 1)
    share = GaugeMetricFamily(
        "mesh_zone_share", "Share of the calls that stays in the preferred zone.", labels=["target", "zone"]
    )
    if preference := core.balancer.zones():
        share.add_metric([core.target, str(preference["preferred"])], float(preference["share"]))
    return zone, share


def _drains(core: Core) -> Metric:
    told = "Connections given up, by whether their calls had all ended."
    drains = CounterMetricFamily("mesh_drains", told, labels=["target", "outcome"])
    for outcome, count in core.pool.drains.items():
        drains.add_metric([core.target, outcome], count)
    return drains
