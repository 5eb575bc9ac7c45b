"""The dashboard of the shop on the mesh: pages, orders, their outbox, and the load."""

from tools.dashboards.database import OUTBOX
from tools.dashboards.model import ALL, PAGES, Board, Panel, Query, Row, in_flight, quantile, quantiles, rate


def _method(service: str, method: str) -> str:
    return f'{ALL}, grpc_service="ecommerce.{service}", grpc_method="{method}"'


def _by_code(service: str, method: str) -> list[Query]:
    return [Query(rate("grpc_server_handled_total", "grpc_code", _method(service, method)), "{{grpc_code}}")]


_HTTP = "http_server_request_duration_seconds"

_STOREFRONT = Row(
    "Storefront",
    [
        Panel(
            "Requests",
            "By status: 5xx is ours.",
            "reqps",
            [
                Query(
                    rate(f"{_HTTP}_count", "http_response_status_code"),
                    "{{http_response_status_code}}",
                )
            ],
            kind="stacked",
        ),
        Panel(
            "Time to a page",
            "All routes. A point opens the trace of a request, with every call that it made.",
            "s",
            quantiles(_HTTP, "", PAGES),
            exemplars=True,
        ),
        Panel(
            "Slowest routes",
            "p95 by route.",
            "s",
            [Query(quantile(0.95, _HTTP, "http_route", PAGES), "{{http_route}}")],
        ),
    ],
)

_ORDERS = Row(
    "Orders",
    [
        Panel(
            "Orders",
            "Placed, by how it ended: FailedPrecondition is the customer's, such as no stock.",
            "reqps",
            _by_code("OrderService", "CreateOrder"),
            kind="stacked",
            runbooks=["ShopOrdersFailing"],
        ),
        Panel(
            "Time to order",
            "A point opens the trace of an order.",
            "s",
            quantiles("grpc_server_handling_seconds", "", _method("OrderService", "CreateOrder")),
            exemplars=True,
        ),
        Panel(
            "Payments",
            "By how it ended.",
            "reqps",
            _by_code("PaymentService", "ProcessPayment"),
            kind="stacked",
        ),
        Panel("Log-ins", "By how it ended.", "reqps", _by_code("UserService", "Login"), kind="stacked"),
        Panel(
            "Looks at products",
            "By method.",
            "reqps",
            [
                Query(
                    rate(
                        "grpc_server_handling_seconds_count",
                        "grpc_method",
                        f'{ALL}, grpc_service="ecommerce.ProductService"',
                    ),
                    "{{grpc_method}}",
                )
            ],
        ),
        Panel(
            "Open streams",
            "Pages that follow an order, chats, feeds.",
            "short",
            [
                Query(
                    in_flight(
                        "grpc_method", f'{ALL}, grpc_service=~"ecommerce[.].+", grpc_type=~".*_stream"'
                    ),
                    "{{grpc_method}}",
                )
            ],
        ),
    ],
)

_LOAD = Row(
    "Load generator (where it runs)",
    [
        Panel(
            "Calls",
            "By code.",
            "reqps",
            [Query(rate("loadgen_calls_total", "target, code"), "{{target}} {{code}}")],
        ),
        Panel(
            "Latency",
            "From when the schedule wanted a call to its end: also what a stall holds up.",
            "s",
            quantiles("loadgen_latency_seconds", "target", ALL),
        ),
        Panel(
            "Dropped",
            "Arrivals above the limit of journeys in flight.",
            "reqps",
            [Query(rate("loadgen_dropped_total", "replica"), "{{replica}}")],
        ),
    ],
)

SHOP = Board(
    "meshmart-shop",
    "Meshmart: shop",
    "Pages, orders, what follows from them, and the load upon the shop.",
    [_STOREFRONT, _ORDERS, OUTBOX, _LOAD],
)
