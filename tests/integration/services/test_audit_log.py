"""What admins do to products, stock, orders and payments is logged in the transaction that does it."""

from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from ecommerce import common_pb2, order_pb2, payment_pb2, product_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.kit import audit_record
from services.kit.audit_record import AuditRecord
from services.kit.db import Database
from services.manifest import shop as manifests
from services.order import audited_methods as order_methods
from services.payment import audited_methods as payment_methods
from services.product import audited_methods as product_methods
from services.user import audited_methods as user_methods
from tests.databases import Maker

from .shopkit import ADMIN, BOB, NOBODY, SERVICES, Shop, refused, shop

Code = grpc.StatusCode
ROOT = Path(__file__).parents[3]


async def log(stub: Any, metadata: Any = ADMIN) -> list[tuple[int, str, str, str, str]]:
    """Oldest first: who, what, on what, what of it, and the outcome."""
    listed = [e async for e in stub.ListAuditLog(common_pb2.ListAuditLogRequest(), metadata=metadata)]
    return [(e.actor_id, e.action, e.target, e.detail, e.outcome) for e in reversed(listed)]


@pytest.fixture
async def running(new_databases: Maker) -> Any:
    async with shop(new_databases(*SERVICES), lambda: 1_000.0) as running:
        yield running


async def test_edits_of_products_and_of_stock_are_logged(running: Shop) -> None:
    products = running.product
    wanted = product_pb2.CreateProductRequest(name="Lamp", price=9.5, stock=3, category=4)
    lamp = (await products.CreateProduct(wanted, metadata=ADMIN)).product
    edit = product_pb2.UpdateProductRequest(id=lamp.id, price=8, update_mask=FieldMask(paths=["price"]))
    await products.UpdateProduct(edit, metadata=ADMIN)
    adjust = product_pb2.AdjustStockRequest(
        product_id=lamp.id, change=-9, kind=product_pb2.STOCK_MOVEMENT_KIND_CORRECT, note="broken"
    )
    await refused(products.AdjustStock(adjust, metadata=ADMIN))
    await products.DeleteProduct(product_pb2.DeleteProductRequest(id=lamp.id), metadata=ADMIN)
    assert (await refused(products.CreateProduct(wanted, metadata=BOB))).code == Code.PERMISSION_DENIED
    this = f"product {lamp.id}"
    assert await log(products) == [
        (1, "CreateProduct", this, "9.50, stock 3: Lamp", "OK"),
        (1, "UpdateProduct", this, "price=8.00", "OK"),
        (1, "AdjustStock", this, "-9: broken", "FAILED_PRECONDITION"),
        (1, "DeleteProduct", this, "", "OK"),
    ]
    assert len(await log(products, NOBODY)) == 4  # the operator's workload
    assert (await refused(products.ListAuditLog(common_pb2.ListAuditLogRequest(), metadata=BOB))).code == (
        Code.PERMISSION_DENIED
    )


async def test_what_admins_do_to_orders_and_payments_is_logged(running: Shop) -> None:
    orders, payments = running.order, running.payment
    item = order_pb2.OrderItem(product_id=1, quantity=1)
    address = common_pb2.Address(street="a", city="b", zip_code="1", country="DE")
    place = order_pb2.CreateOrderRequest(
        user_id=2, items=[item], shipping_address=address, idempotency_key="k"
    )
    mine = (await orders.CreateOrder(place, metadata=BOB)).order
    place.idempotency_key = "for bob"
    theirs = (await orders.CreateOrder(place, metadata=ADMIN)).order
    ship = order_pb2.UpdateOrderStatusRequest(id=mine.id, status=order_pb2.ORDER_STATUS_SHIPPED)
    await orders.UpdateOrderStatus(ship, metadata=ADMIN)
    await refused(orders.UpdateOrderStatus(ship, metadata=BOB))  # a buyer's attempt is no admin's act
    assert await log(orders) == [
        (1, "CreateOrder", f"order {theirs.id}", "for user 2", "OK"),
        (1, "UpdateOrderStatus", f"order {mine.id}", "SHIPPED", "OK"),
    ]
    refund = payment_pb2.RefundRequest(payment_id=mine.payment_id, amount=0.5, reason="scratched")
    await payments.RefundPayment(refund, metadata=ADMIN)
    refund.amount = 1_000_000
    await refused(payments.RefundPayment(refund, metadata=ADMIN))
    this = f"payment {mine.payment_id}"
    assert await log(payments) == [
        (1, "RefundPayment", this, "0.50: scratched", "OK"),
        (1, "RefundPayment", this, "1000000.00: scratched", "FAILED_PRECONDITION"),
    ]


@pytest.mark.parametrize("service", [m.name for m in manifests().values() if "ListAuditLog" in m.methods])
async def test_an_act_and_its_entry_are_committed_together_or_not_at_all(
    new_databases: Maker, service: str
) -> None:
    databases = new_databases(service)
    async with Database.open(databases.url(service), service) as db:

        async def entries() -> int:
            count = sa.select(sa.func.count()).select_from(audit_record.table)
            return int(await db.read(lambda c: c.scalar(count)))

        def fails(connection: sa.Connection) -> None:
            raise LookupError("after the act, before its commit")

        with audit_record.recording(record := AuditRecord(1, 1, "client", "Act", "thing", "1")):
            with pytest.raises(LookupError):
                await db.write(fails)
            assert (record.written, await entries()) == (False, 0)
            await db.write(lambda c: None)
            await db.write(lambda c: None)  # the same act's second transaction
            assert (record.written, await entries()) == (True, 1)


def test_every_admin_method_that_changes_something_is_logged() -> None:
    """A method that the policy keeps for admins, and that is not declared free of side effects."""
    import tomllib

    from google.protobuf.descriptor_pb2 import MethodOptions

    known = {
        "ProductService": (product_pb2, product_methods.AUDITED),
        "OrderService": (order_pb2, order_methods.AUDITED),
        "PaymentService": (payment_pb2, payment_methods.AUDITED),
        "UserService": (__import__("ecommerce.user_pb2").user_pb2, user_methods.AUDITED),
    }
    rules = tomllib.loads((ROOT / "services/policy.toml").read_text())["users"]
    missing = []
    for rule, needs in rules.items():
        service, _, method = rule.removeprefix("ecommerce.").partition("/")
        if needs != ["admin"] or service not in known:
            continue
        module, audited = known[service]
        options = module.DESCRIPTOR.services_by_name[service].methods_by_name[method].GetOptions()
        if options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS and method not in audited:
            missing.append(rule)
    assert not missing
