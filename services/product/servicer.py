"""ProductService on the wire: protobuf to domain and back."""

from collections.abc import AsyncIterator
from typing import Any

from ecommerce import product_pb2 as pb
from ecommerce.product_pb2_grpc import ProductServiceServicer
from google.protobuf.empty_pb2 import Empty

from services.kit.caller import current_actor
from services.kit.money import from_cents
from services.product.catalogue import Catalogue
from services.product.domain import Product, ReservedItem, StockItem
from services.product.warehouse import Warehouse


class ProductServicer(ProductServiceServicer):
    """The methods of issue A; CreateProducts and ChatWithProducts answer UNIMPLEMENTED still."""

    def __init__(self, catalogue: Catalogue, warehouse: Warehouse) -> None:
        self._catalogue, self._warehouse = catalogue, warehouse

    async def GetProduct(self, request: pb.GetProductRequest, context: Any) -> pb.GetProductResponse:
        return pb.GetProductResponse(product=_product(await self._catalogue.get(request.id)))

    async def ListProducts(self, request: pb.ListProductsRequest, context: Any) -> AsyncIterator[pb.Product]:
        for product in await self._catalogue.page(request.page, request.page_size, request.category):
            yield _product(product)

    async def SearchProducts(
        self, request: pb.SearchProductsRequest, context: Any
    ) -> AsyncIterator[pb.Product]:
        found = self._catalogue.search(request.query, request.category, request.min_price, request.max_price)
        async for product in found:
            yield _product(product)

    async def CreateProduct(self, request: pb.CreateProductRequest, context: Any) -> pb.CreateProductResponse:
        product = await self._catalogue.create(current_actor(), request)
        return pb.CreateProductResponse(product=_product(product))

    async def UpdateProduct(self, request: pb.UpdateProductRequest, context: Any) -> pb.UpdateProductResponse:
        product = await self._catalogue.update(current_actor(), request.id, request)
        return pb.UpdateProductResponse(product=_product(product))

    async def DeleteProduct(self, request: pb.DeleteProductRequest, context: Any) -> Empty:
        await self._catalogue.delete(current_actor(), request.id)
        return Empty()

    async def ReserveStock(self, request: pb.ReserveStockRequest, context: Any) -> pb.ReserveStockResponse:
        items = [StockItem(item.product_id, item.quantity) for item in request.items]
        reserved = await self._warehouse.reserve(request.key, items)
        return pb.ReserveStockResponse(products=map(_reserved, reserved))

    async def ReleaseStock(self, request: pb.ReleaseStockRequest, context: Any) -> pb.ReleaseStockResponse:
        return pb.ReleaseStockResponse(released=await self._warehouse.release(request.key))


def _product(product: Product) -> pb.Product:
    message = pb.Product(
        id=product.id,
        name=product.name,
        description=product.description,
        price=from_cents(product.price),
        stock=product.stock,
        category=product.category,  # type: ignore[arg-type]  # the domain's numbers are the contract's
        tags=product.tags,
    )
    message.created_at.FromMicroseconds(product.created_at)
    message.updated_at.FromMicroseconds(product.updated_at)
    return message


def _reserved(item: ReservedItem) -> pb.Product:
    return pb.Product(
        id=item.product_id,
        name=item.name,
        price=from_cents(item.price),
        category=item.category,  # type: ignore[arg-type]
    )
