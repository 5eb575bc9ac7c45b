"""ProductService on the wire: protobuf to domain and back."""

from collections.abc import AsyncIterator
from typing import Any

from ecommerce import chat_pb2
from ecommerce import product_pb2 as pb
from ecommerce.product_pb2_grpc import ProductServiceServicer
from google.protobuf.empty_pb2 import Empty

from services.kit.caller import current_actor
from services.kit.intake import batch, patiently
from services.kit.money import from_cents
from services.kit.validation import checking
from services.product.assistant import Answer, Assistant
from services.product.catalogue import MAX_BATCH, Catalogue
from services.product.domain import Product, ReservedItem, StockItem
from services.product.warehouse import Warehouse

#: Seconds for which the assistant waits for the next question.
CHAT_PATIENCE = 300.0
#: Who answers.
ASSISTANT = "Shop assistant"
#: A question may say which conversation it belongs to; the answer says it back.
MAX_ROOM = 100


class ProductServicer(ProductServiceServicer):
    """Protobuf in, protobuf out.

    Args:
        catalogue, warehouse, assistant: The use cases.
    """

    def __init__(self, catalogue: Catalogue, warehouse: Warehouse, assistant: Assistant) -> None:
        self._catalogue, self._warehouse, self._assistant = catalogue, warehouse, assistant

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

    async def CreateProducts(
        self, request_iterator: AsyncIterator[pb.CreateProductRequest], context: Any
    ) -> pb.CreateProductsResponse:
        actor = current_actor()
        actor.require_admin()  # before anything is taken from the stream
        products = await self._catalogue.create_all(actor, await batch(request_iterator, MAX_BATCH))
        total = from_cents(sum(product.price for product in products))
        return pb.CreateProductsResponse(
            products=map(_product, products), total_price=total, count=len(products)
        )

    async def ChatWithProducts(
        self, request_iterator: AsyncIterator[chat_pb2.ChatMessage], context: Any
    ) -> AsyncIterator[chat_pb2.ChatMessage]:
        async for question in patiently(request_iterator, CHAT_PATIENCE):
            with checking() as check:
                check.text("room_id", question.room_id, most=MAX_ROOM)
            answer = await self._assistant.answer(question.text)
            yield _said(answer, question.room_id)

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


def _said(answer: Answer, room_id: str) -> chat_pb2.ChatMessage:
    message = chat_pb2.ChatMessage(
        room_id=room_id,
        user_name=ASSISTANT,
        text=answer.text,
        product_ids=[product.id for product in answer.products],
    )
    message.sent_at.GetCurrentTime()
    return message


def _reserved(item: ReservedItem) -> pb.Product:
    return pb.Product(
        id=item.product_id,
        name=item.name,
        price=from_cents(item.price),
        category=item.category,  # type: ignore[arg-type]
    )
