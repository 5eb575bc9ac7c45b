"""What could pay again is nowhere to be found: not in a database, not in a log, not in a trace."""

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
from ecommerce import order_pb2, payment_pb2
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.payment_pb2_grpc import PaymentServiceStub

from services.payment.instruments import luhn
from tests.integration.local.helpers import eventually

from .conftest import RunningCluster

Code = grpc.StatusCode


def _card(prefix: str, length: int) -> str:
    """A number that no document and no other test uses."""
    digits = prefix + "".join(secrets.choice("0123456789") for _ in range(length - len(prefix) - 1))
    return next(digits + last for last in "0123456789" if luhn(digits + last))


@dataclass
class Secrets:
    """What is sent, and must not stay anywhere."""

    card: str = field(default_factory=lambda: _card("4", 16))
    amex: str = field(default_factory=lambda: _card("37", 15))
    declined: str = "4000000000009995"
    account: str = field(
        default_factory=lambda: "9" + "".join(secrets.choice("0123456789") for _ in range(16))
    )
    closed_account: str = "000111111116"
    #: Four digits that nothing holds yet.
    cvv: str = ""
    #: Refused, and so perhaps told of in an error.
    wrong_card: str = field(default_factory=lambda: f"4242-{secrets.token_hex(6)}")
    wrong_cvv: str = field(default_factory=lambda: f"cvv-{secrets.token_hex(6)}")

    def long(self) -> list[str]:
        """All but the CVV, which is too short to be looked for in the middle of something."""
        return [self.card, self.amex, self.declined, self.account, self.closed_account, self.wrong_card,
                self.wrong_cvv]  # fmt: skip


@dataclass
class Client:
    """A plain client with the operator's certificate, all of whose calls are traced."""

    cluster: RunningCluster
    token: str
    #: The span of each call on the client's side, by its trace.
    traces: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def channel(self, service: str) -> Iterator[grpc.Channel]:
        certificates = self.cluster.state_dir / "certs" / "client"
        files = [(certificates / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt")]
        replica = self.cluster.status()["services"][service]
        address = f"{replica['replicas'][0]['address']}:{replica['port']}"
        options = [
            ("grpc.ssl_target_name_override", f"{service}.meshmart.svc.cluster.local"),
            ("grpc.enable_http_proxy", 0),
        ]
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(*files), options) as channel:
            yield channel

    def metadata(self) -> list[tuple[str, str]]:
        """Those of one call: the user, and a trace that every service is to record."""
        trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.traces[trace_id] = span_id
        return [("authorization", f"Bearer {self.token}"), ("traceparent", f"00-{trace_id}-{span_id}-01")]

    def code(self, call: Callable[..., Any], request: Any) -> grpc.StatusCode:
        """Makes a call and reads all of its answers."""
        try:
            answer = call(request, metadata=self.metadata(), timeout=60)
            if hasattr(answer, "__next__"):
                list(answer)
        except grpc.RpcError as e:
            code: grpc.StatusCode = e.code()  # type: ignore[attr-defined] # of every call's error
            return code
        return Code.OK


def _stored(state: Path) -> bytes:
    """Databases with their logs, and what the processes wrote; not the keys of the certificates."""
    databases = [path for path in sorted((state / "data").rglob("*")) if path.is_file()]
    assert any(path.name.startswith("payment.db") for path in databases)
    return b"\n".join(path.read_bytes() for path in databases) + logged(state)


def logged(state: Path) -> bytes:
    """What the processes wrote."""
    files = sorted((state / "logs").rglob("*.log"))
    assert files
    return b"\n".join(path.read_bytes() for path in files)


def _holds(text: bytes, number: str) -> bool:
    return re.search(rb"(?<![0-9A-Za-z.])%s(?![0-9A-Za-z.])" % number.encode(), text) is not None


def _requests(said: Secrets) -> Iterator[payment_pb2.PaymentRequest]:
    """Every way to name something that pays, approved and declined."""
    flat = {"expiry_date": "12/40", "cvv": said.cvv}
    yield payment_pb2.PaymentRequest(order_id=1, amount=1, card_number=said.amex, **flat)  # type: ignore[arg-type]
    for number, cvv in ((said.card, "123"), (said.declined, "123"), (said.amex, said.cvv)):
        card = payment_pb2.CreditCard(number=number, expiry="12/40", cvv=cvv)
        yield payment_pb2.PaymentRequest(order_id=1, amount=1, credit_card=card)
    for number in (said.account, said.closed_account):
        account = payment_pb2.BankAccount(account_number=number, routing_number="110000000")
        yield payment_pb2.PaymentRequest(order_id=1, amount=1, bank_account=account)


def _wrong(said: Secrets) -> Iterator[payment_pb2.PaymentRequest]:
    cards = ((said.wrong_card, "123"), (said.card, said.wrong_cvv), (said.card[:-1], said.cvv))
    for number, cvv in cards:
        card = payment_pb2.CreditCard(number=number, expiry="12/40", cvv=cvv)
        yield payment_pb2.PaymentRequest(order_id=1, amount=1, credit_card=card)


def _pay(client: Client, said: Secrets) -> None:
    """Through every method that takes something to pay with."""
    with client.channel("payment") as channel:
        payment = PaymentServiceStub(channel)
        for request in _requests(said):
            assert client.code(payment.ProcessPayment, request) is Code.OK
        assert client.code(payment.ProcessPaymentStream, _requests(said)) is Code.OK
        assert client.code(payment.BidirectionalPaymentStream, _requests(said)) is Code.OK
        for request in _wrong(said):
            assert client.code(payment.ProcessPayment, request) is Code.INVALID_ARGUMENT
        assert client.code(payment.ProcessPaymentStream, _wrong(said)) is Code.INVALID_ARGUMENT
        assert client.code(payment.BidirectionalPaymentStream, _wrong(said)) is Code.INVALID_ARGUMENT
    with client.channel("order") as channel:
        order = OrderServiceStub(channel)
        for number, cvv, code in (
            (said.amex, said.cvv, Code.OK),
            (said.declined, "123", Code.FAILED_PRECONDITION),
            (said.wrong_card, said.wrong_cvv, Code.INVALID_ARGUMENT),
        ):
            card = payment_pb2.CreditCard(number=number, expiry="12/40", cvv=cvv)
            request = order_pb2.CreateOrderRequest(
                user_id=2,
                items=[order_pb2.OrderItem(product_id=2, quantity=1)],
                payment=payment_pb2.PaymentInstrument(credit_card=card),
            )
            assert client.code(order.CreateOrder, request) is code


async def _traces(cluster: RunningCluster, calls: dict[str, str]) -> dict[str, bytes]:
    """All that was recorded of these traces, once what served each call has arrived: that ends last."""
    found: dict[str, bytes] = {}
    async with httpx.AsyncClient(base_url=cluster.traces, timeout=30) as http:

        async def arrived() -> bool:
            replies = {trace_id: await http.get(f"/api/traces/{trace_id}") for trace_id in calls}
            found.update({trace_id: r.content for trace_id, r in replies.items() if r.is_success})
            parents = [{span["parent_id"] for span in json.loads(text)["spans"]} for text in found.values()]
            return len(found) == len(calls) and all(
                calls[t] in p for t, p in zip(found, parents, strict=True)
            )

        await eventually(arrived, 120)
    return found


def made_up(before: bytes) -> Secrets:
    """Secrets that are not in what is there already."""
    candidates = (f"{secrets.randbelow(9000) + 1000}" for _ in range(1000))
    return Secrets(cvv=next(number for number in candidates if not _holds(before, number)))


async def test_what_pays_is_nowhere_to_be_found_afterwards(cluster: RunningCluster) -> None:
    async def stored() -> bytes:
        return await asyncio.to_thread(_stored, cluster.state_dir)

    await vanish(cluster, stored)


async def vanish(cluster: RunningCluster, stored: Callable[[], Awaitable[bytes]]) -> Secrets:
    """Pays in every way, and looks for what it paid with in what is stored and in the traces."""
    said = made_up(await stored())
    client = Client(cluster, (await asyncio.to_thread(cluster.meshmart, "token", "--user", "bob")).strip())
    await asyncio.to_thread(_pay, client, said)
    traces = await _traces(cluster, client.traces)
    traced, kept = b"\n".join(traces.values()), await stored()
    # That it was there to be found: the end of a number is kept, the calls were logged and traced.
    assert said.card[-4:].encode() in kept
    assert next(iter(client.traces)).encode() in kept
    spans = [span for trace in traces.values() for span in json.loads(trace)["spans"]]
    assert {"payment", "order"} <= {span["service"] for span in spans}
    for secret in said.long():
        assert secret.encode() not in kept, secret
        assert secret.encode() not in traced, secret
    assert not _holds(kept + b"\n" + traced, said.cvv)
    return said
