"""Builds the queries of the longer charts: those of helm/meshmart/dashboards, for one choice. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence

from meshmart.console.choice import Choice
from meshmart.console.codes import FAILURES

#: The codes that are the callee's fault, and the statuses of pages that are the server's.
BAD = f'grpc_code=~"{"|".join(FAILURES)}"'
_BAD_PAGE = 'http_response_status_code=~"[05].*"'
_OURS, _UNARY = 'grpc_service!~"grpc[.].+"', 'grpc_type="unary"'
_HTTP = "http_server_request_duration_seconds"


def of(choice: Choice, namespace: str, window: str, called: Collection[str]) -> Sequence[str]:
    """Return the queries for the rate, the failing rate and the p99 of a choice.

    Args:
        choice: The choice.
        namespace: Its namespace.
        window: The range of each rate, such as `60s`.
        called: The gRPC services that the target provides, if the choice is an edge.
    """
    own = {"job": "meshmart", "namespace": namespace, "service": choice.service}
    if choice.replica:
        own["replica"] = choice.replica
    some = ", ".join(f"{name}={_quoted(value)}" for name, value in own.items())
    if choice.target:
        names = "|".join(re.escape(name) for name in sorted(called))
        return _grpc("client", f"{some}, {_OURS}, grpc_service=~{_quoted(names)}", window)
    pages = _three(f"{_HTTP}_count", f"{_HTTP}_count", f"{_HTTP}_bucket", some, _BAD_PAGE, some, window)
    calls = _grpc("server", f"{some}, {_OURS}", window)
    # The storefront serves pages and no calls; no service serves both.
    return [f"{call} or {page}" for call, page in zip(calls, pages, strict=True)]


def _grpc(side: str, labels: str, window: str) -> Sequence[str]:
    metric = f"grpc_{side}_handling_seconds"
    unary = f"{labels}, {_UNARY}"
    return _three(
        f"{metric}_count", f"grpc_{side}_handled_total", f"{metric}_bucket", labels, BAD, unary, window
    )


def _three(
    count: str, failed: str, bucket: str, labels: str, bad: str, measured: str, window: str
) -> Sequence[str]:
    return (
        f"sum (rate({count}{{{labels}}}[{window}]))",
        f"sum (rate({failed}{{{labels}, {bad}}}[{window}]))",
        f"histogram_quantile(0.99, sum by (le) (rate({bucket}{{{measured}}}[{window}])))",
    )


def _quoted(value: str) -> str:
    """Return a string of PromQL."""
    escapes: Mapping[str, str] = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
    return '"' + "".join(escapes.get(c, c) for c in value) + '"'
