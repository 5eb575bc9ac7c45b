"""Implements OrderService over the use cases."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from ecommerce import common_pb2, order_pb2_grpc
from ecommerce import order_pb2 as pb
from google.protobuf import empty_pb2

from grpcmesh.call import current_workload
from grpcmesh.clock import Clock
from grpcmesh.errors import PermissionDenied
from services.kit.caller import current_actor, require_workload
from services.kit.paging import Listing
from services.kit.validation import checking
from services.order.domain import MAX_TOTAL, Buyer
from services.order.orders import Orders
from services.order.updates import Updates
from services.order.wire import instrument_of, order_message, order_of, status_of, update_message


class OrderServicer(order_pb2_grpc.OrderServiceServicer):
    """Converts protobuf messages and calls the use cases.

    Args:
        orders: The use cases.
        updates: Follows orders.
        now: Returns the time in Unix seconds.
        erase: Erases a buyer's personal data.
    """

    def __init__(
        self, orders: Orders, updates: Updates, now: Clock, erase: Callable[[int], Awaitable[None]]
    ) -> None:
        self._orders, self._updates, self._now, self._erase = orders, updates, now, erase

    async def CreateOrder(self, request: pb.CreateOrderRequest, context: Any) -> pb.CreateOrderResponse:
        actor = current_actor()
        actor.require_user()
        with checking() as check:
            order = order_of(check, request, self._now())
            instrument = instrument_of(check, request)
        actor.require_self_or_admin(order.user_id)
        return pb.CreateOrderResponse(order=order_message(await self._orders.place(order, Buyer(instrument))))

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.GetOrderResponse:
        with checking() as check:
            order_id = check.id("id", request.id)
        order = await self._orders.get(current_actor(), order_id)
        return pb.GetOrderResponse(order=order_message(order))

    async def UpdateOrderStatus(
        self, request: pb.UpdateOrderStatusRequest, context: Any
    ) -> pb.UpdateOrderStatusResponse:
        with checking() as check:
            order_id = check.id("id", request.id)
            status = status_of(check, request.status)
        assert status is not None  # checked
        order = await self._orders.set_status(current_actor(), order_id, status)
        return pb.UpdateOrderStatusResponse(order=order_message(order))

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Any) -> AsyncIterator[pb.Order]:
        with checking() as check:
            user_id = check.integer("user_id", request.user_id)
            status = status_of(check, request.status, optional=True)
            listing = Listing("orders", user_id, request.status)
            page = listing.page(check, request)
        found = await self._orders.page(current_actor(), user_id, status, page)
        for item in listing.items(context, found):
            yield order_message(item)

    async def RecordRefund(self, request: pb.RecordRefundRequest, context: Any) -> pb.RecordRefundResponse:
        workload = current_workload()
        if workload is None or workload.service != "payment":
            raise PermissionDenied("only the payment service records a refund", "INTERNAL_METHOD")
        with checking() as check:
            order_id = check.id("order_id", request.order_id)
            payment_id = check.id("payment_id", request.payment_id)
            refunded = check.cents("refunded_amount", request.refunded_amount, 1, MAX_TOTAL)
        await self._orders.record_refund(order_id, payment_id, refunded)
        return pb.RecordRefundResponse()

    async def EraseUser(self, request: common_pb2.EraseUserRequest, context: Any) -> empty_pb2.Empty:
        require_workload("user")
        with checking() as check:
            user_id = check.id("user_id", request.user_id)
        await self._erase(user_id)
        return empty_pb2.Empty()

    async def StreamOrderUpdates(
        self, request: pb.GetOrderRequest, context: Any
    ) -> AsyncIterator[pb.OrderUpdate]:
        with checking() as check:
            order_id = check.id("id", request.id)
            check.that(request.after_cursor >= 0, "after_cursor", "must not be negative")
        order = await self._orders.get(current_actor(), order_id)
        await context.send_initial_metadata(())  # tells the client that later changes will arrive
        # A generator: leaving the loop early does not run its `finally`.
        async with aclosing(self._updates.follow(order, request.after_cursor)) as updates:  # type: ignore[type-var]
            async for event in updates:
                yield update_message(event)
