"""The dashboard of what the mesh does about failures and overload, and what that costs."""

from tools.dashboards.model import (
    ALL,
    ANY,
    BAD,
    RATE,
    SOME,
    Board,
    Link,
    Panel,
    Query,
    Row,
    figure,
    increase,
    rate,
)
from tools.dashboards.protection import EJECTED, KNOWLEDGE, OVERLOAD, PROTECTION

_FAILED = rate("mesh_endpoint_requests_total", "target, endpoint, grpc_code", f"{ALL}, {BAD}")
#: 1 for an ejected endpoint, 0 for another: only ejected ones have a series of their own.
_EJECTION = f"mesh_outlier_endpoint_ejected{{{ALL}}} or 0 * mesh_endpoint_in_flight{{{ALL}}}"
_SERVICE = Link("The called service", "meshmart-service", "${__field.labels.target}")


_NOW = Row(
    "What the mesh does now",
    [
        figure(
            "Ejected",
            "Endpoints that at least one caller keeps out of rotation.",
            "short",
            EJECTED,
            ANY,
            ["MeshEndpointsEjected"],
        ),
        figure(
            "Circuit breakers that refuse",
            "Callers and targets whose circuit breaker refused a call in the last minutes.",
            "short",
            "count(sum by (service, target) "
            f"(increase(mesh_breaker_refused_total{{{ALL}}}[{RATE}])) > 0) or vector(0)",
            ANY,
            ["MeshBreakerOpen"],
        ),
        figure(
            "Refused by servers",
            "Calls per second that admission refuses.",
            "reqps",
            f"sum(rate(mesh_admission_refused_total{{{ALL}}}[{RATE}]))",
            SOME,
            ["MeshOverloaded"],
        ),
        figure(
            "Retries",
            "Attempts per second after the first attempt of a call, hedges included.",
            "reqps",
            f"sum(rate(mesh_retries_total{{{ALL}}}[{RATE}]))",
            SOME,
            ["MeshManyRetries"],
        ),
        figure(
            "Budgets used up",
            "Callers and targets whose retry budget forbade a retry in the last minutes.",
            "short",
            "count(sum by (service, target) "
            f"(increase(mesh_retry_budget_exhausted_total{{{ALL}}}[{RATE}])) > 0) or vector(0)",
            ANY,
            ["MeshRetryBudgetExhausted"],
        ),
        figure(
            "Stalled",
            "Processes whose event loop was late by more than a quarter of a second.",
            "short",
            f"count(mesh_event_loop_lag_seconds{{{ALL}}} > 0.25) or vector(0)",
            ANY,
            ["MeshEventLoopLag"],
        ),
        Panel(
            "Endpoints: in rotation or ejected",
            "An endpoint is shown as ejected if at least one caller has ejected it.",
            "short",
            [
                Query(
                    f"max by (target, endpoint) ({_EJECTION})",
                    "{{target}} {{endpoint}}",
                )
            ],
            kind="timeline",
            width=24,
            steps=ANY,
            texts={0: "in rotation", 1: "ejected"},
            runbooks=["MeshEndpointsEjected", "MeshEjectionsCapped"],
            on={"": _SERVICE},
        ),
    ],
)

_RETRIES = Row(
    "Retries, hedges, budget",
    [
        Panel(
            "Retries",
            "Attempts per second after the first attempt of a call.",
            "reqps",
            [Query(rate("mesh_retries_total", "service, target"), "{{service}} → {{target}}")],
        ),
        Panel(
            "Failed attempts by endpoint",
            "The ten endpoints with the most failed attempts: a single failing replica stands out.",
            "reqps",
            [
                Query(
                    f"topk(10, {_FAILED})",
                    "{{target}} {{endpoint}} {{grpc_code}}",
                )
            ],
        ),
        Panel(
            "Retry budget used",
            "Retries of the last ten seconds as a fraction of the retry budget.",
            "percentunit",
            [
                Query(
                    f"sum by (service, target) (mesh_retry_budget_spent{{{ALL}}})"
                    f" / sum by (service, target) (mesh_retry_budget_allowed{{{ALL}}})",
                    "{{service}} → {{target}}",
                )
            ],
        ),
        Panel(
            "Pushback",
            "Attempts whose server asked to be retried later, or not at all.",
            "reqps",
            [Query(rate("mesh_retry_pushbacks_total", "service, target"), "{{service}} → {{target}}")],
        ),
        Panel(
            "Retries that the budget forbade",
            "Calls that failed because the retry budget was used up.",
            "short",
            [
                Query(
                    increase("mesh_retry_budget_exhausted_total", "service, target"),
                    "{{service}} → {{target}}",
                )
            ],
            runbooks=["MeshRetryBudgetExhausted"],
        ),
    ],
)

_DRAINS = Row(
    "Drains and stalls",
    [
        Panel(
            "Drains",
            "Connections that were drained, because a replica left or for a new certificate.",
            "short",
            [Query(increase("mesh_drains_total", "target, outcome"), "{{target}} {{outcome}}")],
        ),
        Panel(
            "Draining replicas",
            "Draining replicas, and the streams that they ended so that clients resume them elsewhere.",
            "short",
            [
                Query(f"sum by (service) (mesh_draining{{{ALL}}})", "{{service}} draining"),
                Query(increase("mesh_drain_streams_ended_total", "service"), "{{service}} streams ended"),
            ],
        ),
        Panel(
            "Event loop lag",
            "The longest delay of the last ten seconds, in the worst replica.",
            "s",
            [Query(f"max by (service) (mesh_event_loop_lag_seconds{{{ALL}}})", "{{service}}")],
            runbooks=["MeshEventLoopLag"],
        ),
        Panel(
            "Waiting for a CPU",
            "The share of time in which an event loop was ready but waited for a CPU, and its stalls of half"
            " a second. If the loop lags without them, code blocks it.",
            "percentunit",
            [
                Query(
                    f"max by (service) (rate(mesh_event_loop_cpu_wait_seconds_total{{{ALL}}}[{RATE}]))",
                    "{{service}}",
                ),
                Query(increase("mesh_event_loop_cpu_stalls_total", "service"), "{{service}} stalls"),
            ],
            runbooks=["MeshEventLoopLag"],
        ),
        Panel(
            "Restarts of the mesh's own tasks",
            "Background tasks of the library that failed and were started again.",
            "short",
            [Query(increase("mesh_task_restarts_total", "service"), "{{service}}")],
        ),
    ],
)

RESILIENCE = Board(
    "meshmart-resilience",
    "Meshmart: resilience",
    "What the mesh does about failures and overload, and what that costs.",
    [_NOW, PROTECTION, OVERLOAD, _RETRIES, _DRAINS, KNOWLEDGE],
)
