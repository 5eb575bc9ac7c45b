"""NotificationService: replicas over one database, real mutual TLS, the shop's policy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from ecommerce import notification_pb2 as pb
from ecommerce.notification_pb2_grpc import (
    NotificationServiceStub,
    add_NotificationServiceServicer_to_server,
)

from grpcmesh.server.server import MeshServer
from services.kit.db import Database
from services.kit.following import following
from services.notification.inbox import Inbox
from services.notification.mail import Mail
from services.notification.mail_storage import SqlMail
from services.notification.servicer import NotificationServicer
from services.notification.storage import CHANNEL, SqlStore
from tests.databases import Databases, Maker

from .replicakit import Fleet, Metadata, Replica, fleet
from .shopkit import answers_whatever_it_is_asked, messages, refused

Code = grpc.StatusCode
NOW = 1_767_225_600.0


class Post:
    """Two replicas of the notification service, and those who call them."""

    def __init__(self, made: Fleet, databases: Databases) -> None:
        self.fleet, self.databases = made, databases
        self.bob, self.charlie = made.token(2, "bob"), made.token(3, "charlie")
        self.admin = made.token(1, "alice", "user", "admin")
        self.order, self.client = self.of("order"), self.of("client")

    def of(self, workload: str, *replicas: Replica) -> NotificationServiceStub:
        """A workload's stub."""
        return NotificationServiceStub(self.fleet.channel(replicas, workload))

    async def tell(self, user_id: int, *titles: str) -> None:
        for title in titles:
            await self.order.SendNotification(_request(user_id=user_id, title=title))


@asynccontextmanager
async def _post(directory: Path, databases: Databases) -> AsyncIterator[Post]:
    async def make(resources: AsyncExitStack, server: MeshServer) -> None:
        url = databases.url("notification")
        db = await resources.enter_async_context(Database.open(url, "notification"))
        inbox = Inbox(SqlStore(db), lambda: NOW)
        add_NotificationServiceServicer_to_server(
            NotificationServicer(inbox, Mail(SqlMail(db), lambda: NOW)), server
        )
        await resources.enter_async_context(following(db, CHANNEL, inbox, int))

    async with fleet("notification", directory, make) as made:
        yield Post(made, databases)


@pytest.fixture
async def post(tmp_path: Path, new_databases: Maker) -> AsyncIterator[Post]:
    async with _post(tmp_path / "mesh", new_databases("notification")) as post:
        yield post


def _request(**changes: Any) -> pb.NotificationRequest:
    values = {"user_id": 2, "kind": pb.NOTIFICATION_KIND_ORDER, "title": "t", "body": "b"}
    return pb.NotificationRequest(**values | changes)


async def _listed(stub: NotificationServiceStub, metadata: Metadata, **request: int) -> list[pb.Notification]:
    call = stub.ListNotifications(pb.ListNotificationsRequest(**request), metadata=metadata)
    return [notification async for notification in call]


async def _follow(stub: NotificationServiceStub, metadata: Metadata, user_id: int = 2, after: int = 0) -> Any:
    """A stream that already follows."""
    request = pb.StreamNotificationsRequest(user_id=user_id, after_cursor=after)
    stream: Any = stub.StreamNotifications(request, metadata=metadata, timeout=30)
    await stream.initial_metadata()
    return stream


async def _titles(stream: Any, number: int) -> list[str]:
    return [(await stream.read()).title for _ in range(number)]


async def test_the_order_service_tells_and_the_user_reads(post: Post) -> None:
    sent = (await post.order.SendNotification(_request(event_id="e"))).notification
    assert (sent.user_id, sent.kind, sent.title, sent.body) == (2, pb.NOTIFICATION_KIND_ORDER, "t", "b")
    assert (sent.cursor, sent.created_at.seconds) == (1, NOW)
    assert await _listed(post.client, post.bob, user_id=2) == [sent]


async def test_the_same_event_is_told_once_whatever_comes_at_once(post: Post) -> None:
    requests = [_request(event_id=f"e{n % 5}", title=str(n)) for n in range(50)]
    sent = await asyncio.gather(*(post.order.SendNotification(request) for request in requests))
    assert len({response.notification.id for response in sent}) == 5
    listed = await _listed(post.client, post.bob, user_id=2)
    assert [n.cursor for n in listed] == [5, 4, 3, 2, 1]


async def test_only_the_order_service_and_admins_tell(post: Post) -> None:
    assert (await post.client.SendNotification(_request(), metadata=post.admin)).notification.id
    for metadata, code in ((post.bob, Code.PERMISSION_DENIED), ((), Code.UNAUTHENTICATED)):
        assert (await refused(post.client.SendNotification(_request(), metadata=metadata))).code is code
    for workload in ("storefront", "loadgen", "product"):
        refusal = await refused(post.of(workload).SendNotification(_request(), metadata=post.admin))
        assert refusal.code is Code.PERMISSION_DENIED


async def test_a_user_reads_its_own_and_an_admin_anyones(post: Post) -> None:
    for call, request in (
        (post.client.ListNotifications, pb.ListNotificationsRequest(user_id=2)),
        (post.client.StreamNotifications, pb.StreamNotificationsRequest(user_id=2)),
    ):
        method: Any = call
        assert (await refused(method(request, metadata=post.charlie))).code is Code.PERMISSION_DENIED
        assert (await refused(method(request))).code is Code.UNAUTHENTICATED
    await post.tell(2, "a")
    assert [n.title for n in await _listed(post.client, post.admin, user_id=2)] == ["a"]


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"user_id": 0}, {"user_id"}),
        ({"user_id": -1, "title": "", "kind": 0}, {"user_id", "title", "kind"}),
        ({"kind": 99}, {"kind"}),
        ({"title": " "}, {"title"}),
        ({"title": "x" * 201, "body": "x" * 2001}, {"title", "body"}),
        ({"title": "a\0b"}, {"title"}),
        ({"event_id": "x" * 201}, {"event_id"}),
    ],
)
async def test_every_wrong_field_is_named(post: Post, changes: dict[str, Any], fields: set[str]) -> None:
    refusal = await refused(post.order.SendNotification(_request(**changes)))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, fields)


async def test_every_wrong_field_of_the_reading_methods_is_named(post: Post) -> None:
    follow = pb.StreamNotificationsRequest(after_cursor=-1)
    refusal = await refused(post.client.StreamNotifications(follow, metadata=post.bob))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"user_id", "after_cursor"})
    listing = pb.ListNotificationsRequest(user_id=-5, page=-1, page_size=-1)
    refusal = await refused(post.client.ListNotifications(listing, metadata=post.bob))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"user_id", "page", "page_size"})


async def test_a_list_is_paged_newest_first(post: Post) -> None:
    await post.tell(2, "a", "b", "c")
    await post.tell(3, "not bob's")
    assert [n.title for n in await _listed(post.client, post.bob, user_id=2)] == ["c", "b", "a"]
    assert [n.title for n in await _listed(post.client, post.bob, user_id=2, page=2, page_size=2)] == ["a"]


async def test_streams_at_both_replicas_see_what_either_was_told(post: Post) -> None:
    await post.tell(2, "before")
    streams = [await _follow(post.of("client", replica), post.bob) for replica in post.fleet.replicas]
    await post.tell(3, "not bob's")
    await post.tell(2, *"abcdef")  # the channel spreads them over both replicas
    for stream in streams:
        assert await _titles(stream, 6) == list("abcdef")
        stream.cancel()


async def test_a_stream_resumes_after_a_drain_with_nothing_lost_or_doubled(post: Post) -> None:
    """Both replicas are replaced, one after the other, while the user is told things."""
    seen, ended = list[pb.Notification](), list[Code]()
    async with asyncio.timeout(240), asyncio.TaskGroup() as group:
        began = asyncio.Event()
        following = group.create_task(_follow_to_the_last(post, seen, ended, began))
        await began.wait()
        restarting = group.create_task(_restart_rolling(post))
        number = 0
        while not restarting.done():
            number += 1
            await _told_at_last(post, f"{number}", event_id=f"e{number}")
        await _told_at_last(post, "last")
        await following
    assert [n.cursor for n in seen] == list(range(1, number + 3))
    assert ended
    assert set(ended) == {Code.UNAVAILABLE}


async def _follow_to_the_last(
    post: Post, seen: list[pb.Notification], ended: list[Code], began: asyncio.Event
) -> None:
    request = pb.StreamNotificationsRequest(user_id=2)
    while not seen or seen[-1].title != "last":
        stream: Any = post.client.StreamNotifications(request, metadata=post.bob, timeout=240)
        try:
            await stream.initial_metadata()
            if not seen:
                await _told_at_last(post, "first")
            while not seen or seen[-1].title != "last":
                seen.append(await stream.read())
                request.after_cursor = seen[-1].cursor
                began.set()
        except grpc.aio.AioRpcError as e:
            ended.append(e.code())
        finally:
            stream.cancel()


async def _told_at_last(post: Post, title: str, event_id: str = "") -> None:
    """As the relay does it: again, under the same event, until it is taken."""
    request = _request(title=title, event_id=event_id or title)
    while True:
        try:
            await post.order.SendNotification(request)
        except grpc.aio.AioRpcError as e:
            assert e.code() is Code.UNAVAILABLE  # noqa: PT017
        else:
            return


async def _restart_rolling(post: Post) -> None:
    for replica in list(post.fleet.replicas):
        await post.fleet.start()
        await post.fleet.leave(replica)


async def test_a_stream_resumes_by_its_cursor_after_everything_was_down(
    tmp_path: Path, new_databases: Maker
) -> None:
    databases = new_databases("notification")
    async with _post(tmp_path / "one", databases) as post:
        stream = await _follow(post.client, post.bob)
        await post.tell(2, "a", "b", "c")
        cursor = [(await stream.read()).cursor for _ in range(2)][-1]
        stream.cancel()
    async with _post(tmp_path / "two", databases) as post:
        stream = await _follow(post.client, post.bob, after=cursor)
        await post.tell(2, "d")
        assert await _titles(stream, 2) == ["c", "d"]
        stream.cancel()


_METHODS = {
    "SendNotification": pb.NotificationRequest,
    "StreamNotifications": pb.StreamNotificationsRequest,
    "ListNotifications": pb.ListNotificationsRequest,
}


@pytest.mark.parametrize("method", _METHODS)
async def test_no_request_whatever_is_answered_unknown_or_internal(post: Post, method: str) -> None:
    drawn, callers = messages(_METHODS[method]), [post.admin, post.bob, ()]
    timeout = 0.1 if method == "StreamNotifications" else 10
    await answers_whatever_it_is_asked(getattr(post.client, method), drawn, callers, post.databases, timeout)
