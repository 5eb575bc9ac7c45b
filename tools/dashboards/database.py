"""The dashboard of the services' databases and outboxes."""

from tools.dashboards.model import (
    ALL,
    RATE,
    Board,
    Color,
    Panel,
    Query,
    Row,
    figure,
    increase,
    quantile,
    rate,
)

_NOT_OK = f'{ALL}, outcome=~"unavailable|failed"'
_LEGEND = "{{service}} {{kind}}"


_NOW = Row(
    "Now",
    [
        figure(
            "Failing transactions",
            "Transactions per second that did not get a connection, a lock or a server in time, or that the"
            " database failed.",
            "ops",
            f"sum(rate(shop_database_transactions_total{{{_NOT_OK}}}[{RATE}]))",
            (Color.GREEN, (0.001, Color.RED)),
        ),
        figure(
            "Slowest: p99",
            "The p99 of the service and kind of transaction for which it is longest, waiting included.",
            "s",
            f"max({quantile(0.99, 'shop_database_seconds', 'service, kind', ALL)} >= 0)",
            (Color.GREEN, (1, Color.RED)),
        ),
        figure(
            "Waiting now",
            "Transactions that wait for a connection or a lock.",
            "short",
            f"sum(shop_database_waiting{{{ALL}}})",
            (Color.GREEN, (10, Color.RED)),
        ),
        figure(
            "Oldest event",
            "How long the oldest event of an outbox has waited.",
            "s",
            f"max(shop_outbox_oldest_seconds{{{ALL}}})",
            (Color.GREEN, (60, Color.RED)),
            ["ShopOutboxLagging"],
        ),
        figure(
            "Undelivered events",
            "The events in all outboxes, counted up to 10,000 in each.",
            "short",
            f"sum(max by (service, topic) (shop_outbox_pending{{{ALL}}}))",
            (Color.GREEN, (1000, Color.RED)),
            ["ShopOutboxLagging"],
        ),
        figure(
            "Dead letters",
            "Events that their receiver refused permanently.",
            "short",
            f"sum(max by (service, topic) (shop_outbox_dead{{{ALL}}}))",
            (Color.GREEN, (1, Color.RED)),
            ["ShopOutboxDeadLetters"],
        ),
    ],
)

_TRANSACTIONS = Row(
    "Transactions",
    [
        Panel(
            "Transactions",
            "Transactions per second.",
            "ops",
            [Query(rate("shop_database_transactions_total", "service, kind"), _LEGEND)],
        ),
        Panel(
            "Not committed",
            "By outcome. unavailable and failed are faults of the database; conflict and rolled_back are"
            " normal answers, such as too little stock.",
            "ops",
            [
                Query(
                    rate("shop_database_transactions_total", "service, outcome", f'{ALL}, outcome!="ok"'),
                    "{{service}} {{outcome}}",
                )
            ],
        ),
        Panel(
            "p99",
            "The time from the request for a connection to the end of the commit.",
            "s",
            [Query(quantile(0.99, "shop_database_seconds", "service, kind", ALL), _LEGEND)],
        ),
    ],
)

_POOL = Row(
    "Connections",
    [
        Panel(
            "Pool in use",
            "Transactions that have a connection, in the busiest replica, as a fraction of the pool. At 1,"
            " further transactions wait.",
            "percentunit",
            [
                Query(
                    f"max by (service, kind) (shop_database_in_use{{{ALL}}}"
                    f" / shop_database_connections{{{ALL}}})",
                    _LEGEND,
                )
            ],
        ),
        Panel(
            "Waiting for a connection",
            "Transactions that wait now, in all replicas. A write on SQLite waits for the lock, too.",
            "short",
            [Query(f"sum by (service, kind) (shop_database_waiting{{{ALL}}})", _LEGEND)],
        ),
        Panel(
            "Wait, p99",
            "The time until a transaction could begin.",
            "s",
            [Query(quantile(0.99, "shop_database_wait_seconds", "service, kind", ALL), _LEGEND)],
        ),
    ],
)

OUTBOX = Row(
    "What follows from them: the outbox",
    [
        Panel(
            "Waiting",
            "Events that are not delivered yet, and dead letters, which were refused permanently.",
            "short",
            [
                Query(f"max by (service, topic) (shop_outbox_pending{{{ALL}}})", "{{service}} → {{topic}}"),
                Query(f"max by (service, topic) (shop_outbox_dead{{{ALL}}})", "{{service}} → {{topic}} dead"),
            ],
            runbooks=["ShopOutboxDeadLetters"],
        ),
        Panel(
            "Oldest",
            "How long the oldest event has waited.",
            "s",
            [
                Query(
                    f"max by (service, topic) (shop_outbox_oldest_seconds{{{ALL}}})",
                    "{{service}} → {{topic}}",
                )
            ],
            runbooks=["ShopOutboxLagging"],
        ),
        Panel(
            "Delivered, and failed",
            "A failed delivery is repeated.",
            "reqps",
            [
                Query(rate("shop_outbox_delivered_total", "service, topic"), "{{service}} → {{topic}}"),
                Query(rate("shop_outbox_failures_total", "service, topic"), "{{service}} → {{topic}} failed"),
            ],
        ),
    ],
)

_RETENTION = Row(
    "Retention",
    [
        Panel(
            "Expired rows",
            "Rows that were deleted because they are older than MESHMART_KEPT_DAYS. Each service checks"
            " every ten minutes, analytics every hour.",
            "short",
            [Query(increase("shop_database_expired_rows_total", "service"), "{{service}}")],
            width=24,
        )
    ],
)

DATABASE = Board(
    "meshmart-database",
    "Meshmart: database and outbox",
    "The transactions of services, and whether their events are delivered.",
    [_NOW, _TRANSACTIONS, _POOL, OUTBOX, _RETENTION],
)
