"""Prometheus metrics of an identity."""

import math
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.identity.credentials import Credentials
from grpcmesh.identity.problems import Cause, Problem


def lifetimes(own: Credentials | None) -> Iterable[Metric]:
    """Return gauges of when the validity of the certificate in use, and of its CA, begins and ends."""
    values = (own.not_before, own.not_after, own.issuer_not_before, own.issuer_not_after) if own else ()
    families = [GaugeMetricFamily(name, text) for name, text in _LIFETIMES]
    for family, value in zip(families, values, strict=False):
        if math.isfinite(value):  # a certificate that lies in the bundle itself has no CA
            family.add_metric([], value)
    return families


_LIFETIMES = (
    (
        "mesh_certificate_not_before_timestamp_seconds",
        "When the certificate in use begins (Unix seconds).",
    ),
    ("mesh_certificate_expiry_timestamp_seconds", "When the certificate in use ends (Unix seconds)."),
    (
        "mesh_issuer_not_before_timestamp_seconds",
        "When the CA begins that ends first of those above the certificate in use (Unix seconds).",
    ),
    (
        "mesh_issuer_expiry_timestamp_seconds",
        "When the CA ends that ends first of those above the certificate in use (Unix seconds).",
    ),
)


def problems(ended: Problem | None, rejected: Sequence[Problem]) -> Metric:
    """Return a gauge with one series for each kind of problem, 0 or 1.

    All series always exist, because an alert on a missing series would not fire.

    Args:
        ended: Why the identity in use has ended; None if it has not.
        rejected: Problems of a renewed identity that was not accepted.
    """
    family = GaugeMetricFamily(
        "mesh_identity_problem",
        "1 where the identity in use has ended, or a renewed one is not taken, by cause; else 0.",
        labels=["identity", "cause"],
    )
    for cause in _ENDS:
        family.add_metric(["current", cause], int(ended is not None and ended.cause is cause))
    causes = {problem.cause for problem in rejected}
    for cause in Cause:
        family.add_metric(["renewed", cause], int(cause in causes))
    return family


#: The ways in which an identity may end that was good when it was loaded.
_ENDS = (Cause.EXPIRED, Cause.ISSUER_EXPIRED)


def reloads(counts: Mapping[str, int]) -> Metric:
    """Return a counter of changes of the directory, by whether the new identity was accepted."""
    family = CounterMetricFamily(
        "mesh_certificate_reloads", "Changes of the certificate directory, by result.", labels=["result"]
    )
    for result, count in counts.items():
        family.add_metric([result], count)
    return family
