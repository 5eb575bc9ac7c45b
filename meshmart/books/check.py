"""The audit: each thing that one service says is held against what another says of it. Pure.

Orders under way, and what is newer than the orders that were read, are left out and listed: they are
neither right nor wrong yet.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from meshmart.books.model import SOLD, Books, Change, Order
from meshmart.books.money import check_ledger, check_payments
from meshmart.books.verdict import Verdict


def audit(books: Books) -> Verdict:
    """Checks everything."""
    verdict = Verdict(orders=dict(sorted(Counter(o.status for o in books.orders).items())))
    _list_unfinished(books, verdict)
    _check_orders(books, verdict)
    check_payments(books, verdict)
    check_ledger(books, verdict)
    _check_shelf(books, verdict)
    _check_reservations(books, verdict)
    if books.notifications is not None:
        _check_notifications(books, books.notifications, verdict)
    return verdict


def _list_unfinished(books: Books, verdict: Verdict) -> None:
    listed = verdict.unfinished
    listed += [f"order {o.id}: {o.step} after {o.attempts} attempts" for o in books.orders if not o.done]
    listed += [f"payment {p.id}: PROCESSING" for p in books.payments if p.status == "PROCESSING"]
    listed += [f"refund {r.id}: the acquirer does not have it yet" for r in books.refunds if not r.settled]
    listed += [f"event {event_id}: to be notified of" for event_id in books.outbox]
    listed += [f"dead letter {event}" for event in books.dead_letters]


def _check_orders(books: Books, verdict: Verdict) -> None:
    keys = Counter((o.user_id, o.key) for o in books.orders if o.key is not None)
    for (user, key), count in keys.items():
        verdict.expect(count == 1, f"user {user} has {count} orders under the key {key!r}")
    lines: Counter[int] = Counter()
    for item in books.items:
        lines[item.order_id] += item.quantity * item.unit_price
    for order in books.orders:
        verdict.expect(
            order.total == lines[order.id],
            f"order {order.id}: its total is {order.total} cents, its lines come to {lines[order.id]}",
        )
        settled = not order.done or order.status != "PENDING"
        verdict.expect(settled, f"order {order.id}: nothing is left to do, but it is PENDING")
    total = sum(o.total for o in books.orders)
    verdict.add("orders", ("totals", total), ("lines", sum(lines.values())), cents=True)


def _check_shelf(books: Books, verdict: Verdict) -> None:
    """What a product began with is on the shelf or held for an order, to the unit."""
    held: Counter[int] = Counter()
    for key, released in books.reservations.items():
        if not released:
            held.update(books.reserved.get(key, Counter()))
    on_shelf = began = held_of_these = 0
    for product in books.products:
        verdict.expect(product.stock >= 0, f"product {product.id}: its stock is {product.stock}")
        if product.edited or product.id not in books.seeded:
            continue
        first = books.seeded[product.id]
        verdict.expect(
            first == product.stock + held[product.id],
            f"product {product.id}: of {first}, {product.stock} are on the shelf and {held[product.id]} held",
        )
        on_shelf, began = on_shelf + product.stock, began + first
        held_of_these += held[product.id]
    verdict.add("stock", ("seeded", began), ("on the shelf and held", on_shelf + held_of_these))


def _check_reservations(books: Books, verdict: Verdict) -> None:
    """Stock is held for exactly the orders that stand, in their quantities."""
    wanted: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for item in books.items:
        wanted[item.order_id][item.product_id] += item.quantity
    shipped = {change.order_id for change in books.history if change.status == "SHIPPED"}
    held_units = ordered_units = 0
    for order in books.orders:
        if not order.done:
            continue
        held = _held(books, order)
        # What is paid back before it ships comes back.
        sold = order.status in SOLD and (order.status != "REFUNDED" or order.id in shipped)
        expected = wanted[order.id] if sold else Counter[int]()
        verdict.expect(
            held == expected,
            f"order {order.id} ({order.status}): stock is held {_units(held)}, not {_units(expected)}",
        )
        held_units, ordered_units = held_units + held.total(), ordered_units + expected.total()
    verdict.add("stock", ("held for settled orders", held_units), ("ordered", ordered_units))
    known = {order.saga_key for order in books.orders}
    for key, released in books.reservations.items():
        verdict.expect(
            released or key in known or _newer(books, key), f"stock is held under {key!r}: no such order"
        )


def _held(books: Books, order: Order) -> Counter[int]:
    if books.reservations.get(order.saga_key, True):
        return Counter()
    return books.reserved.get(order.saga_key, Counter())


def _newer(books: Books, saga_key: str) -> bool:
    number = saga_key.removeprefix("order-")
    return number.isdecimal() and int(number) > books.last_order


def _units(quantities: Counter[int]) -> str:
    return ", ".join(f"{n} of {product}" for product, n in sorted(quantities.items())) or "none"


def _check_notifications(books: Books, notifications: Sequence[str], verdict: Verdict) -> None:
    """One for each time that an order came to rest in a status."""
    told = Counter(notifications)
    waiting, ever = set(books.outbox), _told_of(books)
    expected = {event_id for event_id, at in ever.items() if at >= books.notified_since}
    for event_id, count in told.items():
        verdict.expect(count == 1, f"{event_id}: {count} notifications")
    for event_id in sorted(expected - waiting):
        verdict.expect(event_id in told, f"{event_id}: no notification, and none under way")
    versions = {order.id: order.version for order in books.orders}
    stray = [e for e in told if e not in ever and _known(e, versions)]
    verdict.problems += [f"{event_id}: a notification of nothing" for event_id in stray]
    delivered = sum(event_id in told for event_id in expected)
    still = len(expected & waiting - told.keys())
    events = ("events", len(expected))
    verdict.add("notifications", events, ("delivered and waiting", delivered + still))


def _told_of(books: Books) -> dict[str, float]:
    """`order-ID-VERSION` of the change that brought each order into each of its statuses, and its time."""
    first: dict[tuple[int, str], Change] = {}
    for change in books.history:
        place = (change.order_id, change.status)
        if change.status != "PENDING" and (place not in first or change.cursor < first[place].cursor):
            first[place] = change
    return {f"order-{change.order_id}-{change.cursor}": change.at for change in first.values()}


def _known(event_id: str, versions: dict[int, int]) -> bool:
    """Whether it speaks of an order, at a version that these books know."""
    kind, _, rest = event_id.partition("-")
    number, _, version = rest.partition("-")
    if kind != "order" or not number.isdecimal() or not version.isdecimal():
        return False
    return int(version) <= versions.get(int(number), 0)
