"""The dashboard of the whole mesh: who calls whom, with what results, and what the mesh does about it."""

from tools.dashboards.model import (
    ALL,
    BAD,
    OURS,
    UNARY,
    Board,
    Panel,
    Query,
    Row,
    fault_share,
    increase,
    quantile,
    quantiles,
    rate,
)

_METHODS = rate("grpc_server_handling_seconds_count", "service, grpc_method", UNARY)
_BY_METHOD = rate("grpc_server_handling_seconds_count", "service, grpc_method, replica", UNARY)
_SERVED = rate("grpc_server_handling_seconds_count", "service, replica", UNARY)
_FAULTS = rate("grpc_client_handled_total", "grpc_service, grpc_method, grpc_code", f"{OURS}, {BAD}")
#: Recorded by helm/meshmart/rules/slo.yaml.
_BURN = 'grpc_service:client_{what}:ratio1h{{namespace="$namespace"}} / (1 - scalar(slo:{slo}:objective))'

CALLS = Row(
    "Calls, as their callers see them: after retries",
    [
        Panel(
            "Rate by service",
            "Calls per second of each service.",
            "reqps",
            [Query(rate("grpc_client_handling_seconds_count", "grpc_service", OURS), "{{grpc_service}}")],
        ),
        Panel(
            "Errors by service",
            "The share of calls that ended in a fault of the callee.",
            "percentunit",
            [Query(fault_share("client", "grpc_service", OURS), "{{grpc_service}}")],
        ),
        Panel(
            "Latency by service",
            "Unary calls. A point is a call that was traced: it opens its trace.",
            "s",
            quantiles("grpc_client_handling_seconds", "grpc_service", UNARY),
            exemplars=True,
        ),
        Panel(
            "Rate by method",
            "Calls per second of each method.",
            "reqps",
            [
                Query(
                    rate("grpc_client_handling_seconds_count", "grpc_service, grpc_method", OURS),
                    "{{grpc_service}}/{{grpc_method}}",
                )
            ],
        ),
        Panel(
            "Errors by method and code",
            "The ten methods and codes with the most errors.",
            "reqps",
            [
                Query(
                    f"topk(10, {_FAULTS})",
                    "{{grpc_service}}/{{grpc_method}} {{grpc_code}}",
                )
            ],
        ),
        Panel(
            "p99 by method",
            "Unary calls.",
            "s",
            [
                Query(
                    quantile(0.99, "grpc_client_handling_seconds", "grpc_service, grpc_method", UNARY),
                    "{{grpc_service}}/{{grpc_method}}",
                )
            ],
            exemplars=True,
        ),
        Panel(
            "Error budget burnt",
            "Burn rate over the last hour: at 1 the budget lasts exactly a month, at 14.4 an alert pages.",
            "short",
            [Query(_BURN.format(what="faults", slo="availability"), "{{grpc_service}}")],
            width=12,
            runbooks=["MeshErrorBudgetBurn"],
        ),
        Panel(
            "Latency budget burnt",
            "Burn rate over the last hour of the budget of calls slower than 250 ms.",
            "short",
            [Query(_BURN.format(what="slow", slo="latency"), "{{grpc_service}}")],
            width=12,
            runbooks=["MeshLatencyBudgetBurn"],
        ),
    ],
)

_BALANCE = Row(
    "Balance",
    [
        Panel(
            "Share of each replica",
            "Each replica's share of its service's unary calls. If it is even, the lines coincide.",
            "percentunit",
            [Query(f"{_SERVED} / on (service) group_left () sum by (service) ({_SERVED})", "{{replica}}")],
        ),
        Panel(
            "Busiest to idlest replica",
            "1 is even; MeshUnevenShare fires at 1.5.",
            "short",
            [Query(f"max by (service) ({_SERVED}) / min by (service) ({_SERVED})", "{{service}}")],
            runbooks=["MeshUnevenShare"],
        ),
        Panel(
            "Busiest replica, method by method",
            "Its share, times the number of replicas: 1 is even, and MeshUnevenMethod fires at 1.5.",
            "short",
            [
                Query(
                    f"max by (service, grpc_method) ({_BY_METHOD}) / {_METHODS} * on (service) group_left ()"
                    f" count by (service) (mesh_serving{{{ALL}}} == 1)",
                    "{{service}} {{grpc_method}}",
                )
            ],
            runbooks=["MeshUnevenMethod"],
        ),
        Panel(
            "Picks by endpoint",
            "What the callers' balancers chose.",
            "reqps",
            [Query(rate("mesh_picks_total", "target, endpoint"), "{{target}} {{endpoint}}")],
        ),
        Panel(
            "In flight by endpoint",
            "Attempts in flight, summed over all callers.",
            "short",
            [
                Query(
                    f"sum by (target, endpoint) (mesh_endpoint_in_flight{{{ALL}}})", "{{target}} {{endpoint}}"
                )
            ],
        ),
        Panel(
            "Calls that wait",
            "Calls that wait in their callers for a ready endpoint.",
            "short",
            [Query(f"sum by (service, target) (mesh_calls_waiting{{{ALL}}})", "{{service}} → {{target}}")],
        ),
        Panel(
            "Calls expired before they were sent",
            "Calls whose deadline passed before they were sent.",
            "short",
            [Query(increase("mesh_deadline_expired_total", "service, target"), "{{service}} → {{target}}")],
        ),
    ],
)

_ENDPOINTS = Row(
    "Endpoints",
    [
        Panel(
            "Endpoints by state",
            "Endpoints summed over all callers: two callers of three replicas count six.",
            "short",
            [Query(f"sum by (target, state) (mesh_endpoint_state{{{ALL}}})", "{{target}} {{state}}")],
            kind="stacked",
            runbooks=["MeshEndpointFailing"],
        ),
        Panel(
            "In rotation",
            "The fewest that any caller picks from. At 0 its calls fail.",
            "short",
            [
                Query(
                    f"min by (service, target) (mesh_endpoints_in_rotation{{{ALL}}})",
                    "{{service}} → {{target}}",
                )
            ],
            runbooks=["MeshNoEndpoints"],
        ),
        Panel(
            "DNS set size",
            "Addresses in the last answer.",
            "short",
            [
                Query(f"max by (name) (mesh_resolver_endpoints{{{ALL}}})", "{{name}} most"),
                Query(f"min by (name) (mesh_resolver_endpoints{{{ALL}}})", "{{name}} least"),
            ],
        ),
        Panel(
            "DNS look-ups",
            "By result.",
            "reqps",
            [Query(rate("mesh_dns_lookups_total", "result"), "{{result}}")],
            runbooks=["MeshDnsFailing"],
        ),
        Panel(
            "DNS queries",
            "By nameserver. Unanswered ones are lost, or a nameserver is slow.",
            "reqps",
            [Query(rate("mesh_dns_queries_total", "nameserver, result"), "{{nameserver}} {{result}}")],
        ),
    ],
)

_FAULTS_ON_PURPOSE = Row(
    "Injected faults",
    [
        Panel(
            "Active faults",
            "Faults that an operator injected. Clear them afterwards: a forgotten fault is an outage.",
            "short",
            [Query(f"sum by (service) (mesh_faults_active{{{ALL}}})", "{{service}}")],
            width=12,
            runbooks=["MeshFaultsForgotten"],
        ),
        Panel(
            "Calls affected by faults",
            "By kind.",
            "reqps",
            [Query(rate("mesh_faults_injected_total", "service, kind"), "{{service}} {{kind}}")],
            width=12,
        ),
    ],
)

MESH = Board(
    "meshmart-mesh",
    "Meshmart: mesh",
    "Who calls whom, with what results, and over which endpoints.",
    [CALLS, _BALANCE, _ENDPOINTS, _FAULTS_ON_PURPOSE],
)
