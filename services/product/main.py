"""The product service: `python -m services.product.main`."""

import os

from ecommerce.product_pb2_grpc import add_ProductServiceServicer_to_server

from grpcmesh.runtime import App, run
from services.kit.audit import AuditLog, audited
from services.kit.background import repeating
from services.kit.db import Database, database_url
from services.kit.priorities import PRIORITIES
from services.kit.retention import INTERVAL, kept_for
from services.kit.tokens import UserKeys
from services.product.assistant import Assistant
from services.product.audited_methods import AUDITED
from services.product.catalogue import Catalogue
from services.product.servicer import ProductServicer
from services.product.stock import SqlStock
from services.product.storage import SqlProducts
from services.product.warehouse import Warehouse

#: Seconds between two searches for reservations that the ledger lacks, during an upgrade and after it.
ADOPTION_INTERVAL = 10.0


async def build(app: App) -> None:
    """Build the service."""
    url, tracer = database_url("product", os.environ), app.telemetry.tracer
    db = await app.enter(Database.open(url, "product", tracer=tracer))
    app.telemetry.add(db.metrics)
    app.use_keys(UserKeys(app.channel("user")))
    app.prioritize(PRIORITIES)
    products, stock, kept = SqlProducts(db), SqlStock(db), kept_for(os.environ)
    servicer = ProductServicer(Catalogue(products), Warehouse(stock), Assistant(products))
    audited(servicer, AuditLog(db), AUDITED)
    add_ProductServiceServicer_to_server(servicer, app.server)
    await app.enter(repeating(lambda: stock.forget(kept), INTERVAL, "forgetting of reservations"))
    await app.enter(repeating(stock.adopt, ADOPTION_INTERVAL, "entering of reservations into the ledger"))


if __name__ == "__main__":
    run("product", build)
