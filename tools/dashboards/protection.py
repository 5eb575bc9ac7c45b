"""The rows of the mesh's dashboard about unhealthy targets, overload, and what servers say of themselves."""

from tools.dashboards.model import ALL, Panel, Query, Row, increase, rate

#: How many endpoints at least one caller keeps out of rotation.
EJECTED = f"count(max by (target, endpoint) (mesh_outlier_endpoint_ejected{{{ALL}}}) > 0) or vector(0)"

PROTECTION = Row(
    "Ejection, breaking, hedging",
    [
        Panel(
            "Ejected endpoints",
            "Most endpoints that any one caller keeps out of rotation because of their errors or latency.",
            "short",
            [Query(f"max by (service, target) (mesh_outlier_ejected{{{ALL}}})", "{{service}} → {{target}}")],
            runbooks=["MeshEndpointsEjected"],
        ),
        Panel(
            "Ejections",
            "Ejections by cause: the rule of outlier detection that applied.",
            "short",
            [Query(increase("mesh_outlier_ejections_total", "target, cause"), "{{target}} {{cause}}")],
        ),
        Panel(
            "Ejections that the cap forbade",
            "Failing endpoints that stay in rotation because maxEjectionPercent of them are ejected already.",
            "short",
            [Query(increase("mesh_outlier_ejections_capped_total", "target"), "{{target}}")],
            runbooks=["MeshEjectionsCapped"],
        ),
        Panel(
            "Circuit breaker: attempts in flight",
            "Attempts in flight as a fraction of the limit; at 1 further calls fail at once.",
            "percentunit",
            [
                Query(
                    f"max by (service, target) (mesh_breaker_in_flight{{{ALL}}}"
                    f' / ignoring (limit) mesh_breaker_limit{{{ALL}, limit="concurrent"}})',
                    "{{service}} → {{target}}",
                )
            ],
        ),
        Panel(
            "Refused by the circuit breaker",
            "Refused calls by limit: attempts in flight, or calls that wait for an endpoint.",
            "short",
            [
                Query(
                    increase("mesh_breaker_refused_total", "service, target, limit"),
                    "{{service}} → {{target}} {{limit}}",
                )
            ],
            runbooks=["MeshBreakerOpen"],
        ),
        Panel(
            "Hedges, and what throttling forbids",
            "Hedged attempts, and the retries and hedges that retryThrottling suppressed.",
            "reqps",
            [
                Query(rate("mesh_hedges_total", "service, target"), "{{service}} → {{target}} hedges"),
                Query(
                    rate("mesh_retries_throttled_total", "service, target"),
                    "{{service}} → {{target}} throttled",
                ),
            ],
            runbooks=["MeshRetriesThrottled"],
        ),
    ],
)

OVERLOAD = Row(
    "Overload",
    [
        Panel(
            "Refused by admission",
            "Refused calls by cause: queueing delay, calls in flight, streams, memory.",
            "reqps",
            [Query(rate("mesh_admission_refused_total", "service, cause"), "{{service}} {{cause}}")],
            runbooks=["MeshOverloaded"],
        ),
        Panel(
            "Refused by priority",
            "Calls of a lower priority are refused first: sheddable before default, default before critical.",
            "reqps",
            [
                Query(
                    rate("mesh_admission_refused_by_priority_total", "service, priority"),
                    "{{service}} {{priority}}",
                )
            ],
            runbooks=["MeshOverloaded"],
        ),
        Panel(
            "Share of calls refused for their age",
            "What load shedding refuses now in the worst replica: 0 while calls do not queue.",
            "percentunit",
            [Query(f"max by (service) (mesh_admission_refused_share{{{ALL}}})", "{{service}}")],
        ),
        Panel(
            "Probes of the queue",
            "Calls of a server to itself, while callers outside of the mesh do not tell their calls' age.",
            "reqps",
            [Query(rate("mesh_admission_probes_total", "service"), "{{service}}")],
        ),
        Panel(
            "Not sent",
            "Calls that callers failed at once, because the target refuses calls of that priority.",
            "reqps",
            [Query(rate("mesh_calls_throttled_total", "service, target"), "{{service}} → {{target}}")],
        ),
        Panel(
            "Queue age",
            "The least time that calls had queued before their handler ran, in the worst replica.",
            "s",
            [Query(f"max by (service) (mesh_admission_queue_age_seconds{{{ALL}}})", "{{service}}")],
        ),
        Panel(
            "Calls in flight, relative to the limit",
            "Unary calls in flight in the busiest replica, as a fraction of its adaptive limit.",
            "percentunit",
            [
                Query(
                    f"max by (service) (mesh_admission_in_flight{{{ALL}}} / mesh_admission_limit{{{ALL}}})",
                    "{{service}}",
                )
            ],
        ),
    ],
)

#: An endpoint's zone is known to each caller by itself.
_CALLER = "service, replica, target, endpoint"
_PICKS = rate("mesh_picks_total", _CALLER)
_ZONES = f"max by ({_CALLER}, zone) (mesh_endpoint_zone{{{ALL}}})"

KNOWLEDGE = Row(
    "Load reports, zones, subsets",
    [
        Panel(
            "Endpoints used",
            "The fewest endpoints that a caller uses, and the most that DNS returned; subsetting uses fewer.",
            "short",
            [
                Query(
                    f"min by (service, target) (mesh_endpoints_used{{{ALL}}})",
                    "{{service}} → {{target}} used",
                ),
                Query(
                    f"max by (service, target) (mesh_endpoints_resolved{{{ALL}}})",
                    "{{service}} → {{target}} resolved",
                ),
            ],
        ),
        Panel(
            "Load that servers report",
            "CPU utilization in ORCA load reports; only where MESH_TELEMETRY_LOAD_REPORT_INTERVAL is set.",
            "percentunit",
            [Query(f"max by (service, replica) (mesh_reported_utilization{{{ALL}}})", "{{replica}}")],
        ),
        Panel(
            "Load reports taken",
            "By weighted_round_robin: of each call, or of the stream that a server reports on out of band.",
            "reqps",
            [
                Query(
                    rate("mesh_load_reports_total", "service, target, source"),
                    "{{service}} → {{target}} {{source}}",
                )
            ],
        ),
        Panel(
            "Load that callers know of",
            "Utilization of an endpoint as it was last reported to a caller, the highest.",
            "percentunit",
            [
                Query(
                    f"max by (target, endpoint) (mesh_endpoint_utilization{{{ALL}}})",
                    "{{target}} {{endpoint}}",
                )
            ],
        ),
        Panel(
            "Share of calls within the zone",
            "The least of all callers that prefer one. Below 1 not enough of its endpoints are in rotation.",
            "percentunit",
            [
                Query(
                    f"min by (service, target, zone) (mesh_zone_share{{{ALL}}})",
                    "{{service}} → {{target}} in {{zone}}",
                )
            ],
        ),
        Panel(
            "Picks by zone",
            "Where the endpoints run that callers chose.",
            "reqps",
            [
                Query(
                    f"sum by (target, zone) ({_ZONES} * on ({_CALLER}) group_left () {_PICKS})",
                    "{{target}} in {{zone}}",
                )
            ],
        ),
    ],
)
