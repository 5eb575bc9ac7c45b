"""The services that receive the outbox events of users, and how events are delivered: see
`services.user.outbox_events`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from ecommerce import common_pb2, notification_pb2
from ecommerce.chat_pb2_grpc import ChatServiceStub
from ecommerce.notification_pb2_grpc import NotificationServiceStub
from ecommerce.order_pb2_grpc import OrderServiceStub

from services.kit.relay import Deliver, OutboxEvent
from services.kit.undelivered import undelivered
from services.user import outbox_events
from services.user.domain import User
from services.user.recovery import LIFETIME, Recovery

#: Timeout of one delivery in seconds, below the relay's own.
TIMEOUT = 4.0
_SUBJECT = "A new password for your Meshmart account"
_LETTER = """Hello,

somebody, we hope you, asked for a new password for your account. This code lets you choose one, on the page
"Forgotten your password?" of the shop. It is good once, for {minutes} minutes.

{code}

If it was not you, there is nothing that you need to do. Nobody at Meshmart will ever ask you for this code.
"""


def forgetters(channel: Callable[[str], grpc.aio.Channel]) -> dict[str, Deliver]:
    """Return, by topic, the functions that have a service erase a user's personal data."""
    return {
        outbox_events.ORDERS: _forgets(OrderServiceStub(channel("order")).EraseUser),
        outbox_events.CHAT: _forgets(ChatServiceStub(channel("chat")).EraseUser),
        outbox_events.NOTIFICATIONS: _forgets(NotificationServiceStub(channel("notification")).EraseUser),
    }


def _forgets(erase: Callable[..., Awaitable[Any]]) -> Deliver:
    async def deliver(event: OutboxEvent) -> None:
        request = common_pb2.EraseUserRequest(user_id=event.payload["user_id"])
        try:
            await erase(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as e:
            raise undelivered(e) from None

    return deliver


class Letters:
    """Sends codes through NotificationService.

    Args:
        channel: A mesh channel to `notification`.
        recovery: Makes the codes.
    """

    def __init__(self, channel: grpc.aio.Channel, recovery: Recovery) -> None:
        self._stub, self._recovery = NotificationServiceStub(channel), recovery

    async def __call__(self, event: OutboxEvent) -> None:
        """Send a recovery code. Raises Undelivered if that fails."""
        try:
            await self._recovery.send(event.payload["user_id"], self)
        except grpc.aio.AioRpcError as e:
            raise undelivered(e) from None

    async def send_code(self, user: User, code: str) -> None:
        # Without an event id: each attempt has a code of its own, and the first letter may be lost.
        body = _LETTER.format(minutes=LIFETIME // 60, code=code)
        request = notification_pb2.SendMailRequest(
            user_id=user.id, to=user.email, subject=_SUBJECT, body=body
        )
        await self._stub.SendMail(request, timeout=TIMEOUT)
