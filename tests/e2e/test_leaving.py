"""A user forgets its password, gets back in by mail, and leaves: over the running shop."""

import json
import re
import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from ecommerce import chat_pb2, common_pb2, order_pb2, user_pb2
from ecommerce.chat_pb2_grpc import ChatServiceStub
from ecommerce.order_pb2_grpc import OrderServiceStub

from .conftest import RunningCluster
from .test_suspension import Replicas

#: Seconds that a call may take, and within which what is told through an outbox has arrived, on a machine
#: with other work.
TIMEOUT, PATIENCE = 60, 180.0


def eventually(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.2)


class Person:
    """Somebody new, with an order and something said."""

    def __init__(self, replicas: Replicas) -> None:
        self.name = f"p{secrets.token_hex(4)}"
        self.email = f"{self.name}@example.com"
        self.users = replicas.user()
        self.orders = OrderServiceStub(replicas.channels["order"][0])
        self.chat = ChatServiceStub(replicas.channels["chat"][0])
        self.id = self.register()

    def register(self) -> int:
        request = user_pb2.CreateUserRequest(name=self.name, email=self.email, password="the first one")
        made: int = self.users.CreateUser(request, timeout=TIMEOUT).user.id
        return made

    def bearer(self, name: str = "", password: str = "") -> Any:
        request = user_pb2.LoginRequest(login=name or self.name, password=password)
        token = self.users.Login(request, timeout=TIMEOUT).access_token
        return (("authorization", f"Bearer {token}"),)

    def order(self, metadata: Any) -> int:
        address = common_pb2.Address(street="Weg 1", city="Ulm", zip_code="89073", country="DE")
        item = order_pb2.OrderItem(product_id=1, quantity=1)
        request = order_pb2.CreateOrderRequest(user_id=self.id, items=[item], shipping_address=address)
        made: int = self.orders.CreateOrder(request, metadata=metadata, timeout=TIMEOUT).order.id
        return made

    def say(self, metadata: Any, room: str) -> None:
        said = iter([chat_pb2.ChatMessage(room_id=room, text="I live at Weg 1")])
        self.chat.SendMessage(said, metadata=metadata, timeout=TIMEOUT)


def test_a_password_that_was_forgotten_then_an_account_that_was_deleted(cluster: RunningCluster) -> None:
    with ExitStack() as stack:
        person = Person(Replicas(cluster, stack))

        asked = user_pb2.RequestPasswordResetRequest(login=person.email)
        person.users.RequestPasswordReset(asked, timeout=TIMEOUT)
        eventually(lambda: bool(cluster.meshmart("admin", "mail", "--to", person.email)))
        letter = json.loads(cluster.meshmart("admin", "mail", "--to", person.email).splitlines()[0])
        (code,) = re.findall(r"^[A-Za-z0-9_-]{43}$", letter["body"], re.MULTILINE)
        reset = user_pb2.ResetPasswordRequest(code=code, new_password="the second one")
        person.users.ResetPassword(reset, timeout=TIMEOUT)
        own = person.bearer(password="the second one")

        admin, room = person.bearer("alice", "alice-password"), f"r{secrets.token_hex(4)}"
        order_id = person.order(own)
        person.say(own, room)
        ship = order_pb2.UpdateOrderStatusRequest(id=order_id, status=order_pb2.ORDER_STATUS_SHIPPED)
        person.orders.UpdateOrderStatus(ship, metadata=admin, timeout=TIMEOUT)

        leave = user_pb2.DeleteUserRequest(id=person.id, current_password="the second one")
        person.users.DeleteUser(leave, metadata=own, timeout=TIMEOUT)

        def forgotten() -> bool:
            request = order_pb2.GetOrderRequest(id=order_id)
            order = person.orders.GetOrder(request, metadata=admin, timeout=TIMEOUT).order
            history = chat_pb2.GetRoomHistoryRequest(room_id=room)
            said = list(person.chat.GetRoomHistory(history, metadata=admin, timeout=TIMEOUT))
            return not order.shipping_address.street and [(m.user_name, m.text) for m in said] == [
                ("former user", "")
            ]

        eventually(forgotten)
        eventually(lambda: not cluster.meshmart("admin", "mail", "--to", person.email))
        eventually(lambda: cluster.run("audit").returncode == 0)
        assert person.register() != person.id
