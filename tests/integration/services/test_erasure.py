"""Who a user was is taken from orders, chats and notifications; what has to be kept is kept."""

from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from ecommerce import common_pb2, order_pb2

from services.chat.domain import FORMER, Author
from services.chat.domain import Draft as Said
from services.chat.storage import SqlStore as ChatStore
from services.kit.db import Database
from services.kit.paging import Page
from services.notification.domain import Draft, Kind
from services.notification.mail import Letter
from services.notification.mail_storage import SqlMail
from services.notification.storage import SqlStore as NotificationStore
from services.order.erasure import Erasure
from services.order.tables import erased
from tests.databases import Maker

from .shopkit import ADMIN, BOB, SERVICES, refused, shop

Code = grpc.StatusCode
USER = (("x-workload", "user"),)


async def test_orders_lose_their_address_when_they_need_it_no_more(new_databases: Maker) -> None:
    async with shop(new_databases(*SERVICES), lambda: 1_000.0) as running:
        orders = running.order
        address = common_pb2.Address(street="Weg 1", city="Ulm", zip_code="1", country="DE")
        placed = []
        for key in "abc":
            item = order_pb2.OrderItem(product_id=1, quantity=1)
            request = order_pb2.CreateOrderRequest(
                user_id=2, items=[item], shipping_address=address, idempotency_key=key
            )
            placed.append((await orders.CreateOrder(request, metadata=BOB)).order)
        shipped, cancelled, waiting = (order.id for order in placed)

        async def become(order_id: int, status: Any) -> None:
            request = order_pb2.UpdateOrderStatusRequest(id=order_id, status=status)
            await orders.UpdateOrderStatus(request, metadata=ADMIN)

        async def addresses() -> list[str]:
            wanted = (order_pb2.GetOrderRequest(id=i) for i in (shipped, cancelled, waiting))
            found = [await orders.GetOrder(r, metadata=ADMIN) for r in wanted]
            return [o.order.shipping_address.street for o in found]

        await become(shipped, order_pb2.ORDER_STATUS_SHIPPED)
        await become(cancelled, order_pb2.ORDER_STATUS_CANCELLED)
        erase = common_pb2.EraseUserRequest(user_id=2)
        assert (await refused(orders.EraseUser(erase, metadata=ADMIN))).code == Code.PERMISSION_DENIED
        for _ in range(2):  # idempotent
            await orders.EraseUser(erase, metadata=USER)
        assert await addresses() == ["", "", "Weg 1"]
        await become(waiting, order_pb2.ORDER_STATUS_SHIPPED)
        await Erasure(running.order_db).go_on()
        assert await addresses() == ["", "", ""]
        assert (
            await running.order_db.read(lambda c: c.scalar(sa.select(sa.func.count(erased.c.user_id)))) == 0
        )
        await become(shipped, order_pb2.ORDER_STATUS_DELIVERED)  # what is saved later does not bring it back
        assert await addresses() == ["", "", ""]


async def test_messages_lose_their_author_and_their_words(new_databases: Maker) -> None:
    async with Database.open(new_databases("chat").url("chat"), "chat") as db:
        store = ChatStore(db)
        for user_id, name in ((2, "bob"), (3, "charlie"), (2, "bob")):
            await store.post(Said("lobby", Author(user_id, name), f"I am {name}", None), 1_000.0)
        await store.erase_author(2)
        said = (await store.history("lobby", Page())).items
        assert [(m.author.name, m.text) for m in said] == [
            (FORMER, ""),
            ("charlie", "I am charlie"),
            (FORMER, ""),
        ]


async def test_notifications_lose_their_words_and_letters_are_dropped(new_databases: Maker) -> None:
    async with Database.open(new_databases("notification").url("notification"), "notification") as db:
        store, mail = NotificationStore(db), SqlMail(db)
        for user_id in (2, 3):
            await store.add(Draft(user_id, Kind.ORDER, "Order 1", "Dear bob", f"order-1-{user_id}"), 1_000.0)
            await mail.post(Letter(user_id, f"{user_id}@example.com", "s", "a code"), 1_000.0)
        await store.erase_user(2)
        told = [(await store.page(user_id, Page())).items[0] for user_id in (2, 3)]
        assert [(n.title, n.body, n.cursor) for n in told] == [("", "", 1), ("Order 1", "Dear bob", 1)]
        assert [letter.user_id for letter in await mail.letters("", 10)] == [3]
        assert await mail.drop_letters(1_001.0) == 1


def test_a_letter_shows_its_code_to_no_log() -> None:
    assert "a code" not in repr(Letter(2, "b@example.com", "s", "a code"))


@pytest.mark.parametrize("service", ["analytics"])
async def test_figures_know_no_users(new_databases: Maker, service: str) -> None:
    """Nothing is to be erased there, as long as this holds."""
    from services.analytics.tables import metadata

    columns = {column.name for table in metadata.tables.values() for column in table.columns}
    assert not {name for name in columns if "user" in name or "name" in name} - {"name"}
