"""Metrics of user tokens and of the keys that verify them."""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.auth.trusted import TrustedIssuer


def collect(tokens: Mapping[str, int], issuers: Sequence[TrustedIssuer]) -> Iterable[Metric]:
    """Yield the metrics. `tokens`: counts by result."""
    counted = CounterMetricFamily("mesh_auth_tokens", "User tokens checked, by result.", labels=["result"])
    for result, count in tokens.items():
        counted.add_metric([result], count)
    yield counted
    fetches = CounterMetricFamily("mesh_auth_key_fetches", "Fetches of key sets.", labels=["result"])
    for result in ("success", "error"):
        fetches.add_metric([result], sum(issuer.fetches[result] for issuer in issuers))
    yield fetches
    keys = sum(len(issuer.keys) for issuer in issuers)
    yield GaugeMetricFamily("mesh_auth_keys", "Keys that verify tokens.", value=keys)
    revocations = sum(len(issuer.revocations) for issuer in issuers)
    yield GaugeMetricFamily("mesh_auth_revocations", "Entries of the revocation lists.", value=revocations)
    yield from _by_issuer(issuers)


def _by_issuer(issuers: Sequence[TrustedIssuer]) -> Iterable[Metric]:
    """Yield what alerts need of each issuer. The issuers are those of the settings, so they are few."""
    ages = GaugeMetricFamily(
        "mesh_auth_keys_age_seconds", "Time since the last good fetch of keys, by issuer.", labels=["issuer"]
    )
    problems = GaugeMetricFamily(
        "mesh_auth_key_problem", "1 while the last fetch of keys failed.", labels=["issuer", "cause"]
    )
    for issuer in issuers:
        if issuer.age is not None:
            ages.add_metric([issuer.rules.issuer], issuer.age)
        if issuer.problem is not None:
            problems.add_metric([issuer.rules.issuer, issuer.problem.cause], 1)
    yield ages
    yield problems
