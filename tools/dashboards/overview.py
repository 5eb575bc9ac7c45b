"""The overview: whether the mesh is healthy, in figures with thresholds; then who calls whom."""

from functools import partial

from tools.dashboards.calls import COLUMNS, EDGES, FIELDS, GRAPH, LATENCY, SUCCESS
from tools.dashboards.mesh import CALLS
from tools.dashboards.model import (
    ALL,
    ANY,
    BAD,
    HERE,
    HTTP_BAD,
    OURS,
    RATE,
    SOME,
    UNARY,
    Board,
    Color,
    Column,
    Link,
    Panel,
    Query,
    Row,
    quantile,
)
from tools.dashboards.protection import EJECTED

#: Six fill the width.
_figure = partial(Panel, kind="stat", width=4, height=5)

_MESH = Link("The mesh in detail", "meshmart-mesh")
_RESILIENCE = Link("Ejections, breakers, shedding", "meshmart-resilience")
_IDENTITY = Link("Certificates and refused callers", "meshmart-identity")
_DATABASE = Link("Databases and outbox", "meshmart-database")
_SHOP = Link("The shop", "meshmart-shop")


def _success(calls: str, failed: str) -> str:
    """Return the share of calls that did not fail; none if there are no calls."""
    return f"1 - (sum(rate({failed}[{RATE}])) or vector(0)) / (sum(rate({calls}[{RATE}])) > 0)"


_HTTP = "http_server_request_duration_seconds_count"
_FIRING = 'ALERTS{{alertstate="firing", severity="{0}", namespace=~"$namespace|"}}'

_HEALTH = Row(
    "Is it healthy?",
    [
        _figure(
            "Success",
            "The share of calls that succeeded, as callers see it, after retries. The objective is 99.9 %.",
            "percentunit",
            [
                Query(
                    _success(
                        f"grpc_client_handling_seconds_count{{{OURS}}}",
                        f"grpc_client_handled_total{{{OURS}, {BAD}}}",
                    ),
                    "calls",
                )
            ],
            steps=SUCCESS,
            runbooks=["MeshErrorBudgetBurn"],
            links=[_MESH],
        ),
        _figure(
            "Pages",
            "The share of the storefront's requests that succeeded.",
            "percentunit",
            [Query(_success(f"{_HTTP}{{{ALL}}}", f"{_HTTP}{{{ALL}, {HTTP_BAD}}}"), "pages")],
            steps=SUCCESS,
            links=[_SHOP],
        ),
        _figure(
            "p99",
            "The p99 of unary calls, as callers see it. The objective is that 99 % are answered within"
            " 250 ms.",
            "s",
            [Query(quantile(0.99, "grpc_client_handling_seconds", "", UNARY), "p99")],
            kind="gauge",
            steps=LATENCY,
            top=2.0,
            runbooks=["MeshLatencyBudgetBurn"],
            links=[_MESH],
        ),
        _figure(
            "Calls",
            "Calls per second between services.",
            "reqps",
            [Query(f"sum(rate(grpc_client_handling_seconds_count{{{OURS}}}[{RATE}]))", "calls")],
            links=[_MESH],
        ),
        _figure(
            "Replicas ready",
            "The share of the known replicas that are ready. Below 1, some are starting, draining or down.",
            "percentunit",
            [Query(f"(sum(mesh_serving{{{ALL}}}) or vector(0)) / count(up{{{ALL}}})", "ready")],
            kind="gauge",
            steps=(Color.RED, (0.75, Color.ORANGE), (1, Color.GREEN)),
            runbooks=["MeshReplicaDown", "MeshReplicaNotReady"],
        ),
        _figure(
            "Alerts firing",
            "Somebody must react to a critical alert at once.",
            "short",
            [
                Query(f"count({_FIRING.format('critical')}) or vector(0)", "critical"),
                Query(f"count({_FIRING.format('warning')}) or vector(0)", "warning"),
            ],
            steps=(Color.GREEN, (1, Color.RED)),
            columns=[Column("", "warning", "short", ANY)],
        ),
        _figure(
            "Ejected endpoints",
            "Endpoints that at least one caller keeps out of rotation because of their errors or latency.",
            "short",
            [Query(EJECTED, "ejected")],
            steps=ANY,
            runbooks=["MeshEndpointsEjected"],
            links=[_RESILIENCE],
        ),
        _figure(
            "Shed",
            "Calls per second that servers refused, or that callers did not send, because of overload.",
            "reqps",
            [
                Query(
                    f"sum(rate(mesh_admission_refused_total{{{ALL}}}[{RATE}]))"
                    f" + sum(rate(mesh_calls_throttled_total{{{ALL}}}[{RATE}]))",
                    "shed",
                )
            ],
            steps=SOME,
            runbooks=["MeshOverloaded"],
            links=[_RESILIENCE],
        ),
        _figure(
            "Certificates: least lifetime left",
            "The least remaining fraction of a certificate's lifetime: renewed at a third, late below a"
            " fifth.",
            "percentunit",
            [Query(f"min(replica:certificate_left:ratio{HERE})", "left")],
            kind="gauge",
            steps=(Color.RED, (0.05, Color.ORANGE), (0.2, Color.GREEN)),
            runbooks=["MeshCertificateNotRenewed", "MeshCertificateExpiring"],
            links=[_IDENTITY],
        ),
        _figure(
            "First certificate ends in",
            "The remaining time of the certificate that ends first.",
            "s",
            [Query(f"min(mesh_certificate_expiry_timestamp_seconds{{{ALL}}}) - time()", "ends in")],
            steps=(Color.RED, (60, Color.GREEN)),
            runbooks=["MeshCertificateExpiring"],
            links=[_IDENTITY],
        ),
        _figure(
            "Oldest event in an outbox",
            "How long the oldest event has waited for its delivery. An alert fires above a minute.",
            "s",
            [Query(f"max(shop_outbox_oldest_seconds{{{ALL}}})", "oldest")],
            steps=(Color.GREEN, (10, Color.ORANGE), (60, Color.RED)),
            runbooks=["ShopOutboxLagging"],
            links=[_DATABASE],
        ),
        _figure(
            "Injected faults",
            "Faults that an operator injected. They may be the cause of the other figures.",
            "short",
            [Query(f"sum(mesh_faults_active{{{ALL}}})", "faults")],
            steps=ANY,
            runbooks=["MeshFaultsForgotten"],
        ),
    ],
)

_SERVICE = "meshmart-service"
_ALERT = Link("The alert's rule, runbook and dashboard", alert="${__data.fields.alertname}")
_READY = f"(sum by (service) (mesh_serving{{{ALL}}}) or 0 * group by (service) (up{{{ALL}}}))"
_STATES = {0.0: "none ready", 1e-5: "some ready", 1.0: "all ready"}

_MAP = Row(
    "Who calls whom",
    [
        Panel(
            "Call graph",
            "Calls per second and p99 of each service. The red part of its circle is the share that failed."
            " An edge with more calls is thicker; it is red if one call of a hundred or more fails.",
            "short",
            GRAPH,
            kind="nodes",
            width=12,
            height=16,
            columns=FIELDS,
            links=[_MESH],
            on={
                "title": Link("The service", _SERVICE, "${__data.fields.id}"),
                "target": Link("The called service", _SERVICE, "${__data.fields.target}"),
            },
        ),
        Panel(
            "Calls",
            "Calls of each caller to each target, as the caller sees them, after retries.",
            "short",
            EDGES,
            kind="table",
            width=12,
            height=8,
            columns=COLUMNS,
            on={
                "Caller": Link("The caller", _SERVICE, "${__data.fields.Caller}"),
                "Target": Link("The called service", _SERVICE, "${__data.fields.Target}"),
            },
        ),
        Panel(
            "Services",
            "Whether all of a service's replicas, some or none are ready.",
            "short",
            [Query(f"{_READY} / count by (service) (up{{{ALL}}})", "{{service}}")],
            kind="timeline",
            width=12,
            height=8,
            steps=(Color.RED, (1e-5, Color.ORANGE), (1, Color.GREEN)),
            texts=_STATES,
            runbooks=["MeshReplicaDown", "MeshNoEndpoints"],
            on={"": Link("The service", _SERVICE, "${__field.labels.service}")},
        ),
    ],
)

_NAMES = ", ".join(["alertname", "severity", "service", "target", "grpc_service", "replica"])
_LATELY = Row(
    "What happened lately",
    [
        *CALLS.panels[:3],
        Panel(
            "Alerts",
            "The alerts that fire now. docs/operations.md says for each what to do.",
            "short",
            [
                Query(
                    f'group by ({_NAMES}) (ALERTS{{alertstate="firing", namespace=~"$namespace|"}})',
                    "",
                )
            ],
            kind="table",
            width=24,
            on={"alertname": _ALERT},
        ),
    ],
)

OVERVIEW = Board(
    "meshmart-overview",
    "Meshmart: overview",
    "Is it healthy? And who calls whom?",
    [_HEALTH, _MAP, _LATELY],
)
