"""The dashboard of one service: its calls, the calls that it makes, its replicas, and its saturation."""

from tools.dashboards.model import (
    RATE,
    Board,
    Panel,
    Query,
    Row,
    fault_share,
    in_flight,
    quantile,
    quantiles,
    rate,
)

_ONE = 'job="meshmart", namespace="$namespace", service="$service"'
_CALLS = f'{_ONE}, grpc_service!~"grpc[.].+"'
_UNARY = f'{_CALLS}, grpc_type="unary"'


def _red(side: str, title: str, method: str) -> Row:
    metric = f"grpc_{side}_handling_seconds"
    by = "grpc_method" if side == "server" else "grpc_service, grpc_method"
    return Row(
        title,
        [
            Panel(
                "Rate by method",
                "Calls per second, counted when they end.",
                "reqps",
                [Query(rate(f"{metric}_count", by, _CALLS), method)],
            ),
            Panel(
                "Errors by method",
                "The share of calls that ended in a fault of the service.",
                "percentunit",
                [Query(fault_share(side, by, _CALLS), method)],
            ),
            Panel(
                "Latency",
                "Unary calls. A point opens the trace of a call.",
                "s",
                quantiles(metric, "", _UNARY),
                exemplars=True,
            ),
            Panel(
                "Calls by code",
                "Also the callers' own mistakes: NotFound, InvalidArgument, PermissionDenied …",
                "reqps",
                [Query(rate(f"grpc_{side}_handled_total", "grpc_code", _CALLS), "{{grpc_code}}")],
                kind="stacked",
            ),
            Panel(
                "p99 by method",
                "Unary calls.",
                "s",
                [Query(quantile(0.99, metric, by, _UNARY), method)],
                exemplars=True,
            ),
            Panel(
                "Messages",
                "Stream messages, counted as they pass rather than when the stream ends.",
                "mps",
                [
                    Query(
                        rate(f"grpc_{side}_msg_received_total", "", _CALLS).replace("by () ", ""), "received"
                    ),
                    Query(rate(f"grpc_{side}_msg_sent_total", "", _CALLS).replace("by () ", ""), "sent"),
                ],
            ),
        ],
    )


_BY_METHOD = rate("grpc_server_handling_seconds_count", "grpc_method, replica", _CALLS)
_METHODS = rate("grpc_server_handling_seconds_count", "grpc_method", _CALLS)

_REPLICAS = Row(
    "Replicas",
    [
        Panel(
            "Share of each replica, method by method",
            "Lines of one method lie on each other. A replica that never gets it has no line; the others are"
            " too high.",
            "percentunit",
            [
                Query(
                    f"{_BY_METHOD} / on (grpc_method) group_left () {_METHODS}",
                    "{{grpc_method}} {{replica}}",
                )
            ],
            width=24,
        ),
        Panel(
            "Rate by replica",
            "Calls that each replica served, per second.",
            "reqps",
            [Query(rate("grpc_server_handling_seconds_count", "replica", _CALLS), "{{replica}}")],
        ),
        Panel(
            "Errors by replica",
            "The share of calls that ended in a fault of the service.",
            "percentunit",
            [Query(fault_share("server", "replica", _CALLS), "{{replica}}")],
        ),
        Panel(
            "p99 by replica",
            "Unary calls.",
            "s",
            [Query(quantile(0.99, "grpc_server_handling_seconds", "replica", _UNARY), "{{replica}}")],
        ),
        Panel(
            "Up, serving, draining",
            "1 is yes.",
            "short",
            [
                Query(f"up{{{_ONE}}}", "{{replica}} up"),
                Query(f"mesh_serving{{{_ONE}}}", "{{replica}} serving"),
                Query(f"mesh_draining{{{_ONE}}}", "{{replica}} draining"),
            ],
            runbooks=["MeshReplicaDown", "MeshReplicaNotReady"],
        ),
        Panel(
            "Age",
            "Age of the process: a drop is a restart.",
            "s",
            [Query(f"time() - process_start_time_seconds{{{_ONE}}}", "{{replica}}")],
        ),
        Panel(
            "Certificate left",
            "Remaining fraction of the certificate's lifetime; it is renewed at a third.",
            "percentunit",
            [
                Query(
                    'replica:certificate_left:ratio{namespace="$namespace", service="$service"}',
                    "{{replica}}",
                )
            ],
        ),
    ],
)

_SATURATION = Row(
    "Saturation",
    [
        Panel(
            "CPU",
            "Cores used. A process has one event loop: at 1 it is full.",
            "short",
            [Query(f"rate(process_cpu_seconds_total{{{_ONE}}}[{RATE}])", "{{replica}}")],
        ),
        Panel(
            "Memory", "Resident.", "bytes", [Query(f"process_resident_memory_bytes{{{_ONE}}}", "{{replica}}")]
        ),
        Panel(
            "Event loop lag",
            "The longest delay of the last ten seconds.",
            "s",
            [Query(f"mesh_event_loop_lag_seconds{{{_ONE}}}", "{{replica}}")],
            runbooks=["MeshEventLoopLag"],
        ),
        Panel(
            "In flight",
            "Calls that are served now, streams among them.",
            "short",
            [Query(in_flight("replica, grpc_type", _CALLS), "{{replica}} {{grpc_type}}")],
        ),
        Panel(
            "Waiting to call",
            "Calls without an endpoint.",
            "short",
            [Query(f"sum by (replica, target) (mesh_calls_waiting{{{_ONE}}})", "{{replica}} → {{target}}")],
        ),
        Panel(
            "Open files",
            "Of those allowed.",
            "percentunit",
            [Query(f"process_open_fds{{{_ONE}}} / process_max_fds{{{_ONE}}}", "{{replica}}")],
        ),
        Panel(
            "Admission",
            "Unary calls that run, and that may run at once.",
            "short",
            [
                Query(f"mesh_admission_in_flight{{{_ONE}}}", "{{replica}} running"),
                Query(f"mesh_admission_limit{{{_ONE}}}", "{{replica}} limit"),
            ],
            width=12,
        ),
        Panel(
            "Queue age",
            "The least time that calls had queued before their handler ran.",
            "s",
            [Query(f"mesh_admission_queue_age_seconds{{{_ONE}}}", "{{replica}}")],
            width=12,
        ),
        Panel(
            "Spans",
            "By whether the collector took them.",
            "short",
            [Query(rate("mesh_spans_exported_total", "outcome", _ONE), "{{outcome}}")],
            width=12,
            runbooks=["MeshTelemetryLost"],
        ),
        Panel(
            "Log lines lost",
            "Nobody read standard error.",
            "short",
            [Query(rate("mesh_log_lines_dropped_total", "replica", _ONE), "{{replica}}")],
            width=12,
        ),
        Panel(
            "Bad values",
            "What peers, nameservers and files said that made no sense, by kind.",
            "short",
            [Query(rate("mesh_bad_values_total", "kind", _ONE), "{{kind}}")],
            width=12,
            runbooks=["MeshBadValues"],
        ),
        Panel(
            "Traces that callers force",
            "Calls that were recorded because their caller said so, and those that were too many.",
            "reqps",
            [Query(rate("mesh_traces_forced_total", "result", _ONE), "{{result}}")],
            width=12,
        ),
    ],
)

#: A line filter, because the labels of streams differ between agents; `namespace` is common to them.
_LINES = '{namespace="$namespace"} |= `"service":"$service"` | json'

_LOGS = Row(
    "Logs and traces (where their data sources are configured)",
    [
        Panel(
            "Log lines",
            "The newest lines of all replicas. The field trace_id of a line links to its trace.",
            "short",
            [Query(_LINES, "")],
            kind="logs",
            width=12,
            height=14,
        ),
        Panel(
            "Traces",
            "The newest traces in which the service takes part. A span links to its log lines.",
            "short",
            [Query("$service", "")],
            kind="traces",
            width=12,
            height=14,
        ),
        Panel(
            "Warnings and errors",
            "The newest lines at the levels warning and error.",
            "short",
            [Query(f'{_LINES} | level=~"WARNING|ERROR"', "")],
            kind="logs",
            width=24,
        ),
    ],
    collapsed=True,
)

SERVICE = Board(
    "meshmart-service",
    "Meshmart: one service",
    "What it is asked, what it asks of others, its replicas, and how full they are.",
    [
        _red("server", "Served", "{{grpc_method}}"),
        _red("client", "Called", "{{grpc_service}}/{{grpc_method}}"),
        _REPLICAS,
        _SATURATION,
        _LOGS,
    ],
    service=True,
    logs=True,
)
