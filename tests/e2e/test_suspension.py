"""A suspended user is refused by every replica within a minute, whoever restarts meanwhile."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from ecommerce import analytics_pb2, chat_pb2, notification_pb2, order_pb2, payment_pb2, product_pb2, user_pb2
from ecommerce.analytics_pb2_grpc import AnalyticsServiceStub
from ecommerce.chat_pb2_grpc import ChatServiceStub
from ecommerce.notification_pb2_grpc import NotificationServiceStub
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.payment_pb2_grpc import PaymentServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub
from ecommerce.user_pb2_grpc import UserServiceStub

from .conftest import RunningCluster

Code = grpc.StatusCode
USER = "charlie"
#: What the issue allows, and what a machine with other work may add to it.
A_MINUTE, PATIENCE = 60.0, 30.0
#: Of each service a call that a user may make.
CALLS: dict[str, tuple[Any, str, Any]] = {
    "product": (ProductServiceStub, "GetProduct", product_pb2.GetProductRequest(id=1)),
    "order": (OrderServiceStub, "ListOrders", order_pb2.ListOrdersRequest()),
    "payment": (PaymentServiceStub, "GetPaymentHistory", payment_pb2.GetPaymentHistoryRequest()),
    "user": (UserServiceStub, "GetUser", user_pb2.GetUserRequest(id=3)),
    "notification": (
        NotificationServiceStub,
        "ListNotifications",
        notification_pb2.ListNotificationsRequest(user_id=3),
    ),
    "chat": (ChatServiceStub, "GetRoomHistory", chat_pb2.GetRoomHistoryRequest(room_id="lobby")),
    "analytics": (AnalyticsServiceStub, "TrackEvent", analytics_pb2.EventRequest()),
}


class Replicas:
    """A channel to each replica, as the operator's workload."""

    def __init__(self, cluster: RunningCluster, stack: ExitStack) -> None:
        certificates = cluster.state_dir / "certs" / "client"
        files = [(certificates / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt")]
        credentials = grpc.ssl_channel_credentials(*files)
        self.channels: dict[str, list[grpc.Channel]] = {}
        for service, told in cluster.status()["services"].items():
            name = ("grpc.ssl_target_name_override", f"{service}.meshmart.svc.cluster.local")
            options = [name, ("grpc.enable_http_proxy", 0)]
            self.channels[service] = [
                stack.enter_context(
                    grpc.secure_channel(f"{r['address']}:{told['port']}", credentials, options)
                )
                for r in told["replicas"]
                if service in CALLS
            ]

    def codes(self, token: str) -> dict[str, Code]:
        """What each replica answers to that token."""
        metadata = (("authorization", f"Bearer {token}"),)
        return {
            f"{service}/{number}": self._code(getattr(stub(channel), method), request, metadata)
            for service, (stub, method, request) in CALLS.items()
            for number, channel in enumerate(self.channels[service], 1)
        }

    def _code(self, call: Any, request: Any, metadata: Any) -> Code:
        try:
            answer = call(request, metadata=metadata, timeout=60, wait_for_ready=True)
            if hasattr(answer, "__next__"):
                list(answer)
        except grpc.RpcError as e:
            code: Code = e.code()  # type: ignore[attr-defined] # of every call's error
            return code
        return Code.OK

    def user(self) -> Any:
        return UserServiceStub(self.channels["user"][-1])


@pytest.fixture
def replicas(cluster: RunningCluster) -> Iterator[Replicas]:
    with ExitStack() as stack:
        yield Replicas(cluster, stack)


def test_a_suspended_user_is_refused_everywhere_within_a_minute_and_after_restarts(
    cluster: RunningCluster, replicas: Replicas
) -> None:
    login = replicas.user().Login(user_pb2.LoginRequest(login=USER, password=f"{USER}-password"), timeout=60)
    before = replicas.codes(login.access_token)
    assert len(before) >= 2 * len(CALLS)  # other tests may have scaled a service
    assert Code.UNAUTHENTICATED not in before.values(), before

    cluster.meshmart("admin", "suspend", USER, "--reason", "a test")
    suspended = time.monotonic()
    try:
        refresh = user_pb2.RefreshTokenRequest(refresh_token=login.refresh_token)
        with pytest.raises(grpc.RpcError) as refused:  # at once, at the other replica too
            replicas.user().RefreshToken(refresh, timeout=60)
        assert refused.value.code() is Code.UNAUTHENTICATED  # type: ignore[attr-defined]
        left = replicas.codes(login.access_token)
        while set(left.values()) != {Code.UNAUTHENTICATED}:
            assert time.monotonic() < suspended + A_MINUTE + PATIENCE, left
            time.sleep(0.5)
            left = replicas.codes(login.access_token)

        for service in ("user", "order"):
            cluster.meshmart("restart", service)
        with ExitStack() as stack:
            after = Replicas(cluster, stack).codes(login.access_token)
        assert set(after.values()) == {Code.UNAUTHENTICATED}, after
        entry = json.loads(cluster.meshmart("admin", "log", "--service", "user").splitlines()[-1])
        assert (entry["actor_id"], entry["action"], entry["target"], entry["outcome"]) == (
            0,
            "SetUserStatus",
            "user 3",
            "OK",
        )
    finally:
        cluster.meshmart("admin", "activate", USER)
    with ExitStack() as stack:
        again = Replicas(cluster, stack).user()
        assert again.Login(user_pb2.LoginRequest(login=USER, password=f"{USER}-password"), timeout=60)
