"""Makes every call of every service's storage, for the tests of query plans."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from services.analytics.domain import METRICS, Event
from services.analytics.domain import Kind as EventKind
from services.analytics.storage import SqlStore as Figures
from services.chat.domain import Author, Stay
from services.chat.domain import Draft as Said
from services.chat.storage import SqlAttendance
from services.chat.storage import SqlStore as Messages
from services.kit import outbox
from services.kit.audit import AuditLog
from services.kit.db import Database
from services.kit.paging import Page
from services.kit.relay import Outcome
from services.notification.domain import Draft as Told
from services.notification.domain import Kind as Why
from services.notification.mail import Letter
from services.notification.mail_storage import SqlMail
from services.notification.storage import SqlStore as Notifications
from services.order.domain import Address, Line, Order, Status
from services.order.erasure import Erasure
from services.order.storage import SqlStore as Orders
from services.payment.acquirer import SimulatedAcquirer
from services.payment.domain import Instrument, Method, Payment, Refund, Wallet
from services.payment.domain import Outcome as Answer
from services.payment.domain import Status as Paid
from services.payment.storage import SqlStore as Payments
from services.product.domain import Category, Criteria, Draft, Edit, Ranking, StockItem, Wish
from services.product.ledger import Adjustment, Kind
from services.product.stock import SqlStock
from services.product.storage import SqlProducts
from services.product.warehouse import Warehouse
from services.user.attempts import SqlAttempts
from services.user.domain import NewUser, Origin, Profile
from services.user.session_storage import SqlRevocations, SqlSessions
from services.user.sessions import first
from services.user.storage import SqlUsers
from tests.plans import ROWS

from .plantables import NOW

PAGES = (Page(20), Page(20, skip=40), Page(20, after=500))
Calls = list[Awaitable[object]]


def _product(db: Database) -> Calls:
    products, stock = SqlProducts(db), SqlStock(db)
    warehouse = Warehouse(stock)
    draft = Draft("new", "", 100, 5, Category.HOME, ())
    wishes = [
        Wish(("text42", "name77")),
        Wish(("text42",), Category.HOME, 10, 2000, Ranking.CHEAPEST),
        Wish((), Category.HOME, ranking=Ranking.DEAREST),
        Wish((), Category.UNSPECIFIED, ranking=Ranking.CHEAPEST),
        Wish((), Category.UNSPECIFIED, 0, 500, ranking=Ranking.DEAREST),
        Wish((), Category.HOME, 10, 500),
        Wish(("tv",)),
    ]
    criteria = [Criteria("text42"), Criteria("zq"), Criteria(""), Criteria("text42", Category.HOME, 1, 9000)]
    criteria += [Criteria("", Category.HOME), Criteria("zq", Category.HOME), Criteria("", min_price=9_990)]
    adjustment = Adjustment(3, 1, Kind.RECEIVE, "", "user-1/k", 1)
    return [
        *(products.page(c, p) for c in (Category.UNSPECIFIED, Category.HOME) for p in PAGES),
        *(_first(products, each) for each in criteria),
        *(products.candidates(wish, 200) for wish in wishes),
        products.get(1),
        products.get_all(range(1, 21)),
        products.add([draft]),
        products.edit(Edit(5, stock=7)),
        products.remove(9, 1),
        warehouse.reserve("new", [StockItem(7, 1), StockItem(8, 1)]),
        warehouse.reserve("more than there is", [StockItem(7, 1_000_000)]),
        warehouse.release("new"),
        warehouse.release("key40"),
        warehouse.ship("key41"),
        stock.adjust(adjustment),
        stock.adjust(adjustment),
        *(stock.movements(3, p) for p in PAGES),
        stock.adopt(),
        stock.forget(60),
        *_audit(db),
    ]


def _audit(db: Database) -> Calls:
    return [AuditLog(db).page(0, 100), AuditLog(db).page(5000, 100)]


async def _first(products: SqlProducts, criteria: Criteria) -> None:
    """What a search shows on a page: it ends there."""
    found = products.search(criteria)
    count = 0
    async for _ in found:
        if (count := count + 1) == 60:
            break
    await found.aclose()  # type: ignore[attr-defined]


def _order(db: Database) -> Calls:
    orders = Orders(db)
    new = Order(0, 2, (Line(1, 1),), Address(), "new", True, NOW, NOW, 0)
    return [
        orders.create(new),
        orders.create(new),
        orders.get(7),
        _save(orders),
        *(orders.page(u, s, p) for u in (0, 2) for s in (None, Status.REFUNDED) for p in PAGES),
        orders.stuck(NOW, 10),
        orders.events(7, 0, 100),
        orders.versions(range(1, 50)),
        orders.backfill_events(NOW, 1000),
        Erasure(db).erase(3),
        Erasure(db).go_on(),
        *_queue(db),
        *_audit(db),
    ]


async def _save(orders: Orders) -> None:
    found = await orders.get(7)
    await orders.save(replace(found, updated_at=NOW), "changed", prices=True)


def _queue(db: Database) -> Calls:
    queue = outbox.SqlQueue(db)

    async def settle() -> None:
        lines = await queue.take("t", NOW, NOW, 16)
        done, failed, dead = (line[0] for line in lines[:3])
        await queue.settle(Outcome([done], [(failed, NOW)], [(dead, "no")]))

    return [
        settle(),
        queue.waiting(["t"]),
        outbox.present(db),
        outbox.dead_letters(db),
        outbox.put_back(db, NOW),
    ]


def _payment(db: Database) -> Calls:
    store, acquirer = Payments(db), SimulatedAcquirer(db, lambda: NOW)
    new = Payment(0, 2, 5, 100, Method.CREDIT_CARD, Paid.PROCESSING, "new", "t", "4242", NOW)
    batch = [replace(new, key=f"b{n}", batch="batch") for n in range(2)]
    answer = Answer(True, "txn", "approved")

    async def settle() -> None:
        begun = await store.begin(new)
        await store.begin(new)
        await store.finish(begun.id, answer, NOW)
        await store.open_refund(Refund("r-new", begun.id, 10, "", "rk", NOW, False))
        await store.settle_refund("r-new")
        started = await store.begin_all(batch)
        assert started
        await store.finish_all(started, [answer, answer], [], NOW)

    return [
        settle(),
        store.get(7),
        store.find("key7"),
        store.of_batch("batch7"),
        *(store.history(2, p) for p in PAGES),
        store.unfinished(NOW, 10),
        store.unfinished_batches(NOW, 10),
        store.settled(50, 100),
        store.last_cursor(),
        store.unsettled(NOW, 10),
        store.watched(NOW, 10),
        store.watch(7, None),
        store.undo(7, answer, Refund("r-undo", 7, 10, "", None, NOW, False)),
        store.backfill_events(NOW, 1000),
        acquirer.search("reference7"),
        acquirer.refunds("transaction_id7"),
        acquirer.refund("reference-new", "transaction_id7", 1),
        acquirer.charge("charge-new", 100, Instrument(Method.DIGITAL_WALLET, Wallet("meshmart", "user-2"))),
        store.number(),
        *_queue(db),
        *_audit(db),
    ]


def _user(db: Database) -> Calls:
    users, sessions, attempts = SqlUsers(db), SqlSessions(db), SqlAttempts(db)
    new = NewUser("new", "new@example.com", 30, ("user",), "hash")
    more = [replace(new, name=f"n{n}", email=f"n{n}@example.com") for n in range(3)]
    origin = Origin("name_key7", "127.0.0.1")

    def work(unit: Any) -> None:
        session, _ = first(7, 2_000_000_000)
        unit.add(session)
        unit.advance(session, replace(session, number=1))
        unit.find(session.family)
        unit.adopt("digest7")
        unit.tidy(7, int(NOW), 10)
        unit.user(7)
        unit.revoke(session.family, 2_000_000_000)
        unit.revoke_user(8, int(NOW), 2_000_000_000)
        unit.account(8)
        unit.set_status(8, 1)
        unit.set_roles(8, ["user"])
        unit.set_password(8, "hash")
        unit.ask_for_code(10, int(NOW), 900, 3)
        unit.add_code(10, "new code", 2_000_000_000)
        unit.code("new code", int(NOW))
        unit.drop_codes(10)

    return [
        users.get(7),
        users.find("name_key7"),
        users.find("email@example.com"),
        *(users.page(p) for p in PAGES),
        users.add(new),
        users.add_all(more),
        users.set_profile(7, Profile()),
        users.rename(8, "renamed", "renamed@example.com"),
        users.remove(9),
        sessions.at_once(work),
        attempts.failed(origin, NOW),
        attempts.wait(origin, NOW),
        attempts.succeeded(origin),
        SqlRevocations(db).listed(int(NOW), 1000),
        *_queue(db),
        *_audit(db),
    ]


def _notification(db: Database) -> Calls:
    store = Notifications(db)
    draft = Told(2, Why.SYSTEM, "t", "b", "event")
    mail, letter = SqlMail(db), Letter(2, "bob@example.com", "s", "b", "letter")
    return [
        store.add(draft, NOW),
        store.add(draft, NOW),
        store.since(2, 5, 100),
        *(store.page(2, p) for p in PAGES),
        store.versions([1, 2, 3]),
        store.forget(100.0),
        store.erase_user(7),
        mail.post(letter, NOW),
        mail.post(letter, NOW),
        mail.letter(7),
        mail.drop_letter(8),
        mail.letters("", 100),
        mail.letters("address7", 100),
        mail.drop_letters(100.0),
        *_queue(db),
        *_audit(db),
    ]


def _chat(db: Database) -> Calls:
    store, attendance = Messages(db), SqlAttendance(db)
    author = Author(2, "bob")
    return [
        store.post(Said("room2", author, "hello", "key"), NOW),
        store.since("room2", 5, 100),
        *(store.history("room2", p) for p in PAGES),
        store.versions(["room1", "room2"]),
        store.forget(100.0),
        attendance.enter([Stay("stay", "room2", author)], NOW),
        attendance.online("room2", 50.0, 0, 100),
        attendance.expire(50.0),
        attendance.leave(["stay"]),
        store.erase_author(2),
    ]


def _analytics(db: Database) -> Calls:
    figures = Figures(db)
    minute = 60 * ROWS
    return [
        figures.record([Event("new", EventKind.ORDER_PLACED, 60.0 * ROWS, 1, 99_999, 1, 100)]),
        figures.series(METRICS[0], minute - 3600, minute, 1000),
        figures.series(METRICS[3], minute - 3600, minute, 1000),
        figures.dashboard(minute - 3600, minute, 10),
        figures.since(METRICS, ROWS - 50, 100),
        figures.version(),
        figures.forget(600.0),
    ]


#: By service: makes every call of its storage.
CALLS: Mapping[str, Callable[[Database], Calls]] = {
    "product": _product,
    "order": _order,
    "payment": _payment,
    "user": _user,
    "notification": _notification,
    "chat": _chat,
    "analytics": _analytics,
}
