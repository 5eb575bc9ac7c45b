"""Every streaming method while its service is restarted: two replicas, both replaced in the middle.

What follows something is resumed by its cursor. What is finite is read page by page, again where it was cut.
What takes a stream is sent again, under its keys where it has any, until it is answered.
"""

from collections.abc import Mapping
from typing import Any

from ecommerce import (
    analytics_pb2,
    chat_pb2,
    notification_pb2,
    order_pb2,
    payment_pb2,
    product_pb2,
    user_pb2,
)

from . import test_analytics, test_chat_streams, test_notification, test_payment_stream
from . import test_restarts_of_goods as goods
from . import test_restarts_of_people as people

#: By method: what shows how it stands a rolling restart of its two replicas.
SHOWN: Mapping[str, Any] = {
    "AnalyticsService.StreamMetrics": (
        test_analytics.test_a_stream_survives_a_rolling_restart_with_nothing_lost_or_doubled
    ),
    "AnalyticsService.TrackEvents": (
        test_analytics.test_a_stream_survives_a_rolling_restart_with_nothing_lost_or_doubled
    ),
    "ChatService.JoinRoom": (
        test_chat_streams.test_streams_survive_a_rolling_restart_with_nothing_lost_or_doubled
    ),
    "ChatService.SendMessage": (
        test_chat_streams.test_streams_survive_a_rolling_restart_with_nothing_lost_or_doubled
    ),
    "ChatService.Chat": (
        test_chat_streams.test_a_chat_under_way_is_told_to_resume_and_each_message_taken_is_said_once
    ),
    "ChatService.GetRoomHistory": people.test_the_history_of_a_room_is_read_whole,
    "ChatService.GetOnlineUsers": people.test_who_stays_in_a_room_is_online_at_the_new_replicas,
    "NotificationService.StreamNotifications": (
        test_notification.test_a_stream_resumes_after_a_drain_with_nothing_lost_or_doubled
    ),
    "NotificationService.ListNotifications": people.test_notifications_are_listed_whole,
    "NotificationService.ListMail": people.test_letters_are_listed_whole,
    "NotificationService.ListAuditLog": people.test_an_audit_log_is_listed_whole,
    "OrderService.ListAuditLog": people.test_an_audit_log_is_listed_whole,
    "PaymentService.ListAuditLog": people.test_an_audit_log_is_listed_whole,
    "ProductService.ListAuditLog": people.test_an_audit_log_is_listed_whole,
    "UserService.ListAuditLog": people.test_an_audit_log_is_listed_whole,
    "OrderService.ListOrders": goods.test_orders_are_listed_whole,
    "OrderService.StreamOrderUpdates": goods.test_an_order_is_followed_with_nothing_lost_or_doubled,
    "PaymentService.GetPaymentHistory": goods.test_payments_are_listed_whole,
    "PaymentService.StreamPayments": (
        test_payment_stream.test_a_follower_sees_every_payment_once_while_all_replicas_are_replaced
    ),
    "PaymentService.ProcessPaymentStream": goods.test_a_batch_of_payments_that_is_sent_again_pays_once,
    "PaymentService.BidirectionalPaymentStream": (
        test_payment_stream.test_payments_of_a_stream_are_answered_to_the_last_one_taken_when_its_replica_leaves
    ),
    "ProductService.ListProducts": goods.test_the_catalogue_is_listed_and_searched_whole,
    "ProductService.SearchProducts": goods.test_the_catalogue_is_listed_and_searched_whole,
    "ProductService.ListStockMovements": goods.test_the_ledger_of_a_product_is_listed_whole,
    "ProductService.CreateProducts": goods.test_many_products_are_made_all_or_none_of_a_batch,
    "ProductService.ChatWithProducts": goods.test_a_conversation_with_the_assistant_goes_on_elsewhere,
    "UserService.ListUsers": people.test_users_are_listed_whole,
    "UserService.BatchCreateUsers": people.test_a_batch_of_users_that_is_sent_again_registers_once,
}
_FILES: Any = (
    analytics_pb2, chat_pb2, notification_pb2, order_pb2, payment_pb2, product_pb2, user_pb2
)  # fmt: skip


def test_every_streaming_method_has_its_test() -> None:
    methods = [
        method
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]
    streaming = [m.full_name for m in methods if m.client_streaming or m.server_streaming]
    assert sorted(SHOWN) == sorted(name.removeprefix("ecommerce.") for name in streaming)
