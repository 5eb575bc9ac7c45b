"""StreamPayments across replicas, behind real mutual TLS, while replicas come and go."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from ecommerce import payment_pb2 as pb
from ecommerce.payment_pb2_grpc import PaymentServiceStub, add_PaymentServiceServicer_to_server
from google.protobuf.empty_pb2 import Empty

from grpcmesh.server.server import MeshServer
from services.kit.db import Database
from services.kit.following import following
from services.payment.acquirer import SimulatedAcquirer
from services.payment.batches import Batches
from services.payment.feed import Feed
from services.payment.payments import Payments
from services.payment.servicer import PaymentServicer
from services.payment.storage import CHANNEL, SqlStore
from tests.databases import Databases, Maker

from .replicakit import Fleet, eventually, fleet, resumed

Code = grpc.StatusCode


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases("payment")


@pytest.fixture
async def payments(databases: Databases, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Two replicas."""

    async def make(stack: AsyncExitStack, server: MeshServer) -> None:
        db = await stack.enter_async_context(Database.open(databases.url("payment"), "payment"))
        store, acquirer = SqlStore(db), SimulatedAcquirer(db, time.time)
        feed = Feed(store)
        await stack.enter_async_context(following(db, CHANNEL, feed, str))
        parts = Payments(store, acquirer, time.time), Batches(store, acquirer, time.time)
        add_PaymentServiceServicer_to_server(PaymentServicer(*parts, feed, time.time), server)

    async with fleet("payment", tmp_path, make) as made:
        yield made


def _request(order_id: int, **kwargs: Any) -> pb.PaymentRequest:
    wallet = pb.DigitalWallet(wallet_id="bob", provider="meshmart")
    key = f"order-{order_id}"
    return pb.PaymentRequest(
        order_id=order_id, amount=1.5, digital_wallet=wallet, idempotency_key=key, **kwargs
    )


def _stub(payments: Fleet) -> Any:
    return PaymentServiceStub(payments.channel())


async def test_a_follower_sees_every_payment_once_while_all_replicas_are_replaced(payments: Fleet) -> None:
    bob, admin = payments.token(2, "bob"), payments.token(1, "alice", "user", "admin")
    follower, payer = _stub(payments), _stub(payments)
    seen: list[pb.PaymentResponse] = []
    first = follower.StreamPayments(Empty(), metadata=admin)
    start = int(dict(await first.initial_metadata())["x-cursor"])
    first.cancel()

    def follow(after: int) -> Any:
        return follower.StreamPayments(Empty(), metadata=(*admin, ("x-after-cursor", str(after))))

    replaced = asyncio.Event()

    async def pay() -> None:
        for order_id in range(1, 101):
            if order_id == 80:
                await replaced.wait()  # the follower has not seen all before its replica leaves
            await _until_paid(payer, _request(order_id), bob)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        following_ = group.create_task(resumed(follow, seen, 100, start))
        group.create_task(pay())

        async def follows() -> bool:
            return bool(seen)

        await eventually(follows)  # a replica that will leave
        for replica in list(payments.replicas):
            await payments.start()
            await payments.leave(replica)
        replaced.set()
    assert [r.cursor for r in seen] == list(range(start + 1, start + 101))
    assert [r.payment.order_id for r in seen] == list(range(1, 101))
    assert Code.UNAVAILABLE in following_.result()


async def _until_paid(payer: Any, request: pb.PaymentRequest, metadata: Any) -> None:
    """A payment is not retried by the mesh; its key makes it safe for the client to do so."""
    while True:
        try:
            assert (await payer.ProcessPayment(request, metadata=metadata)).success
            return
        except grpc.aio.AioRpcError as e:
            if e.code() is not Code.UNAVAILABLE:
                raise
            await asyncio.sleep(0.02)


async def test_payments_of_a_stream_are_answered_to_the_last_one_taken_when_its_replica_leaves(
    payments: Fleet,
) -> None:
    bob, admin = payments.token(2, "bob"), payments.token(1, "alice", "user", "admin")
    only = payments.replicas[0]
    call = PaymentServiceStub(payments.channel([only])).BidirectionalPaymentStream(metadata=bob)
    answered, begun = list[int](), asyncio.Event()

    async def pay() -> grpc.StatusCode:
        for order_id in range(1, 1000):
            try:
                await call.write(_request(order_id))
                answered.append((await call.read()).payment.order_id)
                begun.set()
            except grpc.aio.AioRpcError as e:
                return e.code()
        raise AssertionError("the stream outlived its replica")

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        paying = group.create_task(pay())
        await begun.wait()
        await payments.leave(only)
    assert paying.result() is Code.UNAVAILABLE
    # Whoever is not sure of the last one sends it again, under its key, to another replica.
    for order_id in (*answered[-1:], answered[-1] + 1):
        assert (await _stub(payments).ProcessPayment(_request(order_id), metadata=bob)).success
    resumed_ = _stub(payments).StreamPayments(Empty(), metadata=(*admin, ("x-after-cursor", "0")))
    settled = [(await resumed_.read()).payment.order_id for _ in range(len(answered) + 1)]
    resumed_.cancel()
    assert settled == [*answered, answered[-1] + 1]


async def test_who_may_follow_payments_or_settle_them(payments: Fleet) -> None:
    bob = payments.token(2, "bob")
    stub = _stub(payments)
    assert await _code(stub.StreamPayments(Empty(), metadata=bob)) is Code.PERMISSION_DENIED
    assert await _code(stub.StreamPayments(Empty())) is Code.UNAUTHENTICATED
    batch = [_request(order_id) for order_id in range(1, 4)]
    for method in (stub.ProcessPaymentStream, stub.BidirectionalPaymentStream):
        assert await _code(method(iter(batch))) is Code.UNAUTHENTICATED
    product = PaymentServiceStub(payments.channel(workload="product"))
    assert await _code(product.ProcessPaymentStream(iter(batch), metadata=bob)) is Code.PERMISSION_DENIED


async def _code(call: Any) -> grpc.StatusCode:
    try:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as e:
        return e.code()
    return Code.OK
