"""Implements NotificationService over the use cases."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from ecommerce import common_pb2, notification_pb2_grpc
from ecommerce import notification_pb2 as pb
from google.protobuf.empty_pb2 import Empty

from grpcmesh.call import current_workload
from services.kit.caller import OPERATOR, current_actor, require_workload
from services.kit.paging import DEFAULT_SIZE, MAX_SIZE, Listing
from services.kit.validation import checking
from services.notification.domain import Sender
from services.notification.inbox import Inbox
from services.notification.mail import MAX_ADDRESS, Mail
from services.notification.wire import draft_of, letter_of, mail_message, notification_message

#: Workloads that send notifications on their own behalf, also when the user has no session.
_INTERNAL = frozenset({"order"})


class NotificationServicer(notification_pb2_grpc.NotificationServiceServicer):
    """Converts protobuf messages and calls the use cases.

    Args:
        inbox, mail: The use cases.
    """

    def __init__(self, inbox: Inbox, mail: Mail) -> None:
        self._inbox, self._mail = inbox, mail

    async def SendNotification(
        self, request: pb.NotificationRequest, context: Any
    ) -> pb.NotificationResponse:
        sender = _sender()
        sender.require_may_send()
        with checking() as check:
            draft = draft_of(check, request)
        sent = await self._inbox.send(sender, draft)
        return pb.NotificationResponse(notification=notification_message(sent))

    async def StreamNotifications(
        self, request: pb.StreamNotificationsRequest, context: Any
    ) -> AsyncIterator[pb.Notification]:
        actor = current_actor()
        actor.require_user()
        with checking() as check:
            user_id = check.id("user_id", request.user_id)
            check.that(request.after_cursor >= 0, "after_cursor", "must not be negative")
        latest = await self._inbox.latest(actor, user_id)
        # The metadata tells the client that the stream is open: later notifications will arrive.
        await context.send_initial_metadata(())
        async with aclosing(self._inbox.follow(user_id, request.after_cursor or latest)) as notifications:
            async for notification in notifications:
                yield notification_message(notification)

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Any
    ) -> AsyncIterator[pb.Notification]:
        actor = current_actor()
        actor.require_user()
        with checking() as check:
            user_id = check.id("user_id", request.user_id)
            listing = Listing("notifications", user_id)
            page = listing.page(check, request)
        for item in listing.items(context, await self._inbox.page(actor, user_id, page)):
            yield notification_message(item)

    async def EraseUser(self, request: common_pb2.EraseUserRequest, context: Any) -> Empty:
        require_workload("user")
        with checking() as check:
            user_id = check.id("user_id", request.user_id)
        await self._inbox.erase_user(user_id)
        return Empty()

    async def SendMail(self, request: pb.SendMailRequest, context: Any) -> Empty:
        require_workload("user")
        with checking() as check:
            letter = letter_of(check, request)
        await self._mail.send(letter)
        return Empty()

    async def ListMail(self, request: pb.ListMailRequest, context: Any) -> AsyncIterator[pb.Mail]:
        require_workload(OPERATOR)
        with checking() as check:
            check.text("to", request.to, most=MAX_ADDRESS)
            check.that(request.page_size >= 0, "page_size", "must not be negative")
        limit = min(request.page_size or DEFAULT_SIZE, MAX_SIZE)
        for letter in await self._mail.letters(request.to, limit):
            yield mail_message(letter)


def _sender() -> Sender:
    workload = current_workload()
    return Sender(current_actor(), workload is not None and workload.service in _INTERNAL)
