"""The scene `streams`: streams across a rolling restart of the services that serve them.

With `--plain`, for comparison, a broken stream is opened again without its cursor.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import grpc
from ecommerce import chat_pb2, order_pb2

from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.following import Watcher, ended
from meshmart.tour.stage import SceneError, Stage
from services.loadgen.engine import Recorder
from services.loadgen.persistent import PersistentBuyer
from services.loadgen.report import Report
from services.loadgen.session import Session
from services.loadgen.shop import Shop

NAME = "streams"
SHOWS = CATALOGUE[NAME]

#: Seconds between two changes of orders, and between two messages: shorter than any break of a stream.
PACE, CHAT_PACE = 0.25, 0.05
#: Seconds that the last of them may take to arrive.
LAST = 30.0
LISTENERS = 4
#: The number of orders that do not change before the restart is over, so that their streams outlast it.
LASTING = 4
#: The statuses of an order after its confirmation.
NEXT = {
    order_pb2.ORDER_STATUS_CONFIRMED: order_pb2.ORDER_STATUS_SHIPPED,
    order_pb2.ORDER_STATUS_SHIPPED: order_pb2.ORDER_STATUS_DELIVERED,
    order_pb2.ORDER_STATUS_DELIVERED: order_pb2.ORDER_STATUS_REFUNDED,
}


async def play(stage: Stage) -> list[Check]:
    shop = Shop(stage.channels, buyers=("alice",))  # an admin, who may ship what she ordered
    await stage.with_replicas("order", 2)
    await stage.with_replicas("chat", 2)
    return [*await _orders(stage, shop), *await _chat(stage, shop)]


async def _orders(stage: Stage, shop: Shop) -> list[Check]:
    alice, watchers = shop.buyers[0], dict[int, Watcher]()
    async with asyncio.TaskGroup() as group:
        for _ in range(LASTING):
            order_id = await _ordered(stage, shop, alice)
            watchers[order_id] = await _watch(stage, shop, group, alice, order_id)
        restart = group.create_task(_restart(stage, "order"))
        while not restart.done():
            # In each round one more order is followed, and the youngest change their status.
            order_id = await _ordered(stage, shop, alice)
            watchers[order_id] = await _watch(stage, shop, group, alice, order_id)
            await _move_on(shop, alice, list(watchers)[LASTING:][-len(NEXT) :])
            await asyncio.sleep(PACE)
        for _ in NEXT:
            await _move_on(shop, alice, list(watchers))
        await ended(list(watchers.values()), LAST)
    _, books = await stage.audit(0.0)
    truth: defaultdict[int, set[int]] = defaultdict(set)
    for change in books.history:
        truth[change.order_id].add(change.cursor)
    lost = sum(watcher.lost(truth[order_id]) for order_id, watcher in watchers.items())
    return _checks("updates of orders", list(watchers.values()), lost)


async def _restart(stage: Stage, service: str) -> None:
    stage.say(f"restarting {service}")
    await stage.cluster.restart(service)


async def _ordered(stage: Stage, shop: Shop, alice: Session) -> int:
    """Place an order, and return its id. Raises SceneError if it is not accepted."""
    buyer = PersistentBuyer(shop, alice, by_key=stage.careful)
    asked = await buyer.order(f"tour-{uuid.uuid4().hex}", [(shop.rng.randint(1, 10), 1)])
    if not asked.accepted:
        raise SceneError(f"an order was not accepted: {asked.answer}")
    return asked.order_id


async def _watch(
    stage: Stage, shop: Shop, group: asyncio.TaskGroup, alice: Session, order_id: int
) -> Watcher:
    """Follow an order from its beginning to its end."""
    metadata = await _metadata(alice)

    def open_after(cursor: int) -> Any:
        request = order_pb2.GetOrderRequest(id=order_id, after_cursor=cursor)
        return shop.orders.StreamOrderUpdates(request, metadata=metadata)

    def over(update: Any) -> bool:
        return update.status not in (order_pb2.ORDER_STATUS_PENDING, *NEXT)

    return Watcher(group, open_after, 1, by_cursor=stage.careful, enough=over)


async def _move_on(shop: Shop, alice: Session, order_ids: Sequence[int]) -> None:
    """Change each order to its next status; a final one stays as it is."""
    metadata = await _metadata(alice)
    for order_id in order_ids:
        found = await shop.orders.GetOrder(order_pb2.GetOrderRequest(id=order_id), metadata=metadata)
        if (following := NEXT.get(found.order.status)) is not None:
            request = order_pb2.UpdateOrderStatusRequest(id=order_id, status=following)
            await shop.orders.UpdateOrderStatus(request, metadata=metadata)


async def _metadata(session: Session) -> Any:
    return await session.metadata(Recorder(Report(), 0.0)) or ()


def _checks(what: str, watchers: list[Watcher], lost: int) -> list[Check]:
    seen = sum(len(w.seen) for w in watchers)
    return [
        Check(f"{what} lost of {seen + lost}", lost, 0, relation="=="),
        Check(f"{what} doubled", sum(w.doubled for w in watchers), 0, relation="=="),
        Check(
            f"streams of {what} that failed",
            sum(bool(w.problem) for w in watchers),
            0,
            relation="==",
            details=tuple(w.problem for w in watchers if w.problem),
        ),
        # Without one the restart broke no stream, and the figures above would prove nothing.
        Check(f"times that {what} were resumed", sum(w.resumed for w in watchers), 1, relation=">="),
    ]


async def _chat(stage: Stage, shop: Shop) -> list[Check]:
    alice, room = shop.buyers[0], f"tour-{uuid.uuid4().hex[:12]}"
    metadata = await _metadata(alice)
    await _say(shop, metadata, room, "first")

    def open_after(cursor: int) -> Any:
        request = chat_pb2.JoinRoomRequest(room_id=room, after_cursor=cursor)
        return shop.chat.JoinRoom(request, metadata=metadata)

    def last(message: Any) -> bool:
        return bool(message.text == "last")

    async with asyncio.TaskGroup() as group:
        watchers = [
            Watcher(group, open_after, 1, by_cursor=stage.careful, enough=last) for _ in range(LISTENERS)
        ]
        restart = group.create_task(_restart(stage, "chat"))
        said = 1
        while not restart.done():
            said += 1
            await _say(shop, metadata, room, f"number {said}")
            await asyncio.sleep(CHAT_PACE)
        await _say(shop, metadata, room, "last")
        await ended(watchers, LAST)
    # A room counts from 1 without gaps, so these are the cursors of all that was said.
    truth = set(range(1, said + 2))
    return _checks("messages of a room", watchers, sum(w.lost(truth) for w in watchers))


async def _say(shop: Shop, metadata: Any, room: str, text: str) -> None:
    """Post a message once, however often it has to be sent."""
    message = chat_pb2.ChatMessage(room_id=room, text=text, idempotency_key=uuid.uuid4().hex)
    while True:
        try:
            await shop.chat.SendMessage(iter([message]), metadata=metadata, timeout=5)
            return
        except grpc.aio.AioRpcError as e:
            if e.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        await asyncio.sleep(CHAT_PACE)
