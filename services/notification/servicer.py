"""NotificationService over the use cases."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from ecommerce import notification_pb2 as pb
from ecommerce import notification_pb2_grpc

from grpcmesh.call import current_workload
from services.kit.caller import current_actor
from services.kit.paging import Listing
from services.kit.validation import checking
from services.notification.domain import Sender
from services.notification.inbox import Inbox
from services.notification.wire import draft_of, notification_message

#: Workloads that tell users things on their own behalf, long after the user has left.
_INTERNAL = frozenset({"order"})


class NotificationServicer(notification_pb2_grpc.NotificationServiceServicer):
    """Protobuf in, protobuf out.

    Args:
        inbox: The use cases.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

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
        # Tells that one listens: what is sent from here on will come.
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


def _sender() -> Sender:
    workload = current_workload()
    return Sender(current_actor(), workload is not None and workload.service in _INTERNAL)
