"""The product service: `python -m services.product.main`."""

import os

from ecommerce.product_pb2_grpc import add_ProductServiceServicer_to_server

from mesh.runtime import App, run
from services.kit.db import Database, database_url
from services.kit.tokens import UserKeys
from services.product.catalogue import Catalogue
from services.product.servicer import ProductServicer
from services.product.storage import SqlProducts, SqlStock
from services.product.warehouse import Warehouse


async def build(app: App) -> None:
    """Puts the service together."""
    db = await app.enter(Database.open(database_url("product", os.environ), "product"))
    app.use_keys(UserKeys(app.channel("user")))
    servicer = ProductServicer(Catalogue(SqlProducts(db)), Warehouse(SqlStock(db)))
    add_ProductServiceServicer_to_server(servicer, app.server)


if __name__ == "__main__":
    run("product", build)
