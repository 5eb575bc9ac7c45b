"""Fills every service's large tables, for the tests of query plans."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.analytics import tables as analytics
from services.analytics.domain import METRICS
from services.chat import tables as chat
from services.kit import audit_record, outbox
from services.notification import tables as notification
from services.order import tables as order
from services.payment import tables as payment
from services.product import tables as product
from services.user import tables as user
from tests.plans import ROWS

Table = tuple[sa.Table, dict[str, Callable[[int], Any]]]

#: Unix seconds.
NOW = 1_767_225_600.0
_LONG = "to be read before the first use, " * 12
_EVENT: dict[str, Callable[[int], Any]] = {
    "due": float,
    "refused": lambda n: None,
    "topic": lambda n: "t",
    "key": lambda n: f"k{n}",
}
#: By service: its large tables, with the functions that give their columns' values by row number.
TABLES: Mapping[str, Sequence[Table]] = {
    "product": [
        (
            product.product,
            {
                "id": lambda n: 100 + n,
                "category": lambda n: 1 + n % 5,
                "description": lambda n: _LONG,
                "search_text": lambda n: f"text{n} {_LONG}",
                "tags": lambda n: '["tag"]',
            },
        ),
        (
            product.reservation,
            {"released": lambda n: n % 2 == 0, "entered": lambda n: ("reserve", "release")[n % 2 == 0]},
        ),
        (product.reservation_item, {}),
        (
            product.movement,
            {
                "id": lambda n: 1000 + n,
                "kind": lambda n: "receive",
                "held_change": lambda n: 0,
                "product_id": lambda n: n % 100,
            },
        ),
        (audit_record.table, {}),
    ],
    "order": [
        (
            order.orders,
            {
                "user_id": lambda n: n % 100,
                "status": lambda n: "REFUNDED" if n % 1000 == 0 else "DELIVERED",
                "step": lambda n: "DONE",
                "ship_told": lambda n: True,
                "failure": lambda n: None,
                "address": lambda n: {
                    "street": "",
                    "city": "",
                    "state": "",
                    "zip_code": "",
                    "country": "",
                },
            },
        ),
        (order.items, {"order_id": lambda n: n, "position": lambda n: 0}),
        (order.erased, {"user_id": lambda n: 1000 + n}),
        (order.events, {"order_id": lambda n: n, "cursor": lambda n: 1, "status": lambda n: "DELIVERED"}),
        (order.metadata.tables["outbox"], _EVENT),
        (audit_record.table, {}),
    ],
    "payment": [
        (
            payment.payments,
            {
                "user_id": lambda n: n % 100,
                "status": lambda n: "FAILED" if n == 7 else "COMPLETED",
                "method": lambda n: "CREDIT_CARD",
                "transaction_id": lambda n: "" if n == 7 else "txn",
                "look_at": lambda n: None,
                "last_four": lambda n: "4242",
            },
        ),
        (payment.refunds, {"settled": lambda n: True, "told": lambda n: True}),
        (payment.ledger, {"kind": lambda n: "charge"}),
        (payment.metadata.tables["outbox"], _EVENT),
        (audit_record.table, {}),
    ],
    "user": [
        (
            user.account,
            {
                "id": lambda n: 100 + n,
                "roles": lambda n: "[]",
                "profile": lambda n: None,
                "status": lambda n: 1,
            },
        ),
        (user.refresh_token, {"user_id": lambda n: 100 + n}),
        (user.login_failure, {"last_at": lambda n: int(NOW)}),
        (user.login_session, {"expires_at": lambda n: 2_000_000_000}),
        (user.revocation, {"expires_at": lambda n: 2_000_000_000 + n % 1000, "session": lambda n: f"s{n}"}),
        (user.recovery, {"user_id": lambda n: 100 + n // 3, "expires_at": lambda n: 2_000_000_000}),
        (outbox.table, _EVENT),
        (audit_record.table, {}),
    ],
    "notification": [
        (notification.users, {}),
        (notification.mail, {"address": lambda n: f"address{n}"}),
        (outbox.table, _EVENT),
        (audit_record.table, {}),
        (notification.notifications, {"user_id": lambda n: 1 + n % 100, "kind": lambda n: "SYSTEM"}),
    ],
    "chat": [
        (chat.rooms, {"id": lambda n: f"room{n}"}),
        (chat.messages, {"room": lambda n: f"room{1 + n % 100}"}),
        (chat.presence, {"room": lambda n: f"room{n % 100}"}),
    ],
    "analytics": [
        (
            analytics.metrics,
            {
                "name": lambda n: METRICS[n % len(METRICS)],
                "minute": lambda n: 60 * n,
                "product_id": lambda n: 1,
            },
        ),
        (analytics.seen, {}),
        (analytics.placed_orders, {}),
    ],
}


#: What goes with the rows.
AFTER = {
    "payment": [f"UPDATE payments_feed SET cursor = {ROWS}"],
    "analytics": [f"UPDATE progress SET cursor = {ROWS}"],
}
#: Tables that stay small whatever happens.
SMALL: Mapping[str, set[str]] = {
    # One row each.
    "payment": {"payments_feed"},
    "notification": {"forgotten"},
    "analytics": {"progress"},
}
