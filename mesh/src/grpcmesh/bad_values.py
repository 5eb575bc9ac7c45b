"""Counts values from outside the process that were malformed, by kind.

Code that reads a value of a peer, a nameserver or a file, and cannot use it, counts it here. A kind that
grows in `mesh_bad_values_total` shows an operator where to look. The value itself is never kept.
"""

from collections.abc import Iterator
from typing import Literal, get_args

from prometheus_client.core import CounterMetricFamily, Metric

Kind = Literal[
    "dns_message",  # a datagram that is no answer to our question
    "dns_record",  # an unusable address, an SRV record without a port
    "dns_excess",  # endpoints beyond the bound
    "resolv_conf",  # a line that names no nameserver
    "traceparent",
    "tracestate",
    "baggage",
    "load_report",
    "health",  # what an endpoint answers to a watch of its health
    "pushback",
    "timeout",  # the timeout that a caller sends as metadata
    "status_details",
    "replica",
    "zone",
    "policy",
    "token",
]


class BadValues:
    """Counts bad values by kind. A process has one object, `bad_values`. It is a `telemetry.Source`."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(get_args(Kind), 0)

    def count(self, kind: Kind, many: int = 1) -> None:
        """Add `many` values of this kind."""
        self.counts[kind] += many

    def collect(self) -> Iterator[Metric]:
        """Return `mesh_bad_values_total`, with a 0 for each kind from the start."""
        family = CounterMetricFamily(
            "mesh_bad_values", "Values from outside that were not used, by kind.", labels=["kind"]
        )
        for kind, count in self.counts.items():
            family.add_metric([kind], count)
        yield family


bad_values = BadValues()
