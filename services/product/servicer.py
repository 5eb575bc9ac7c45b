"""Implements ProductService: converts protobuf messages to the domain and back."""

from collections.abc import AsyncIterator
from typing import Any

from ecommerce import chat_pb2
from ecommerce import product_pb2 as pb
from ecommerce.product_pb2_grpc import ProductServiceServicer
from google.protobuf.empty_pb2 import Empty

from services.kit.caller import current_actor
from services.kit.intake import batch, patiently
from services.kit.money import from_cents
from services.kit.paging import Listing
from services.kit.validation import INT32_MAX, checking
from services.product.assistant import Answer, Assistant
from services.product.catalogue import MAX_BATCH, Catalogue
from services.product.domain import Product, ReservedItem, StockItem
from services.product.ledger import Kind, Movement
from services.product.warehouse import Warehouse

#: Seconds for which the assistant waits for the next question.
CHAT_PATIENCE = 300.0
#: The name under which the assistant answers.
ASSISTANT = "Shop assistant"
_KIND_NUMBERS = {
    Kind.SEED: pb.STOCK_MOVEMENT_KIND_SEED,
    Kind.RECEIVE: pb.STOCK_MOVEMENT_KIND_RECEIVE,
    Kind.RESERVE: pb.STOCK_MOVEMENT_KIND_RESERVE,
    Kind.RELEASE: pb.STOCK_MOVEMENT_KIND_RELEASE,
    Kind.SHIP: pb.STOCK_MOVEMENT_KIND_SHIP,
    Kind.CORRECT: pb.STOCK_MOVEMENT_KIND_CORRECT,
}
#: The kinds of movements that an admin may enter.
_ADJUSTMENTS = {_KIND_NUMBERS[kind]: kind for kind in (Kind.RECEIVE, Kind.CORRECT)}
#: The most characters of a room id. A question may name its conversation; the answer repeats it.
MAX_ROOM = 100


class ProductServicer(ProductServiceServicer):
    """Converts protobuf messages and calls the use cases.

    Args:
        catalogue, warehouse, assistant: The use cases.
    """

    def __init__(self, catalogue: Catalogue, warehouse: Warehouse, assistant: Assistant) -> None:
        self._catalogue, self._warehouse, self._assistant = catalogue, warehouse, assistant

    async def GetProduct(self, request: pb.GetProductRequest, context: Any) -> pb.GetProductResponse:
        return pb.GetProductResponse(product=_product(await self._catalogue.get(request.id)))

    async def GetProducts(self, request: pb.GetProductsRequest, context: Any) -> pb.GetProductsResponse:
        found = await self._catalogue.get_all(request.ids)
        known = {product.id for product in found}
        missing = dict.fromkeys(each for each in request.ids if each not in known)
        return pb.GetProductsResponse(products=map(_product, found), missing_ids=missing)

    async def ListProducts(self, request: pb.ListProductsRequest, context: Any) -> AsyncIterator[pb.Product]:
        listing = Listing("products", request.category)
        found = await self._catalogue.page(listing, request, request.category)
        for item in listing.items(context, found):
            yield _product(item)

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
        mask = request.update_mask.paths
        product = await self._catalogue.update(current_actor(), request.id, request, mask, request.version)
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

    async def ShipStock(self, request: pb.ShipStockRequest, context: Any) -> pb.ShipStockResponse:
        return pb.ShipStockResponse(shipped=await self._warehouse.ship(request.key))

    async def AdjustStock(self, request: pb.AdjustStockRequest, context: Any) -> pb.AdjustStockResponse:
        current_actor().require_admin()
        with checking() as check:
            check.choice("kind", request.kind, tuple(_ADJUSTMENTS))
        kind, key = _ADJUSTMENTS[request.kind], request.idempotency_key
        adjusted = (request.product_id, request.change, kind, request.note, key)
        await self._warehouse.adjust(current_actor(), *adjusted)
        return pb.AdjustStockResponse(product=_product(await self._catalogue.get(request.product_id)))

    async def ListStockMovements(
        self, request: pb.ListStockMovementsRequest, context: Any
    ) -> AsyncIterator[pb.StockMovement]:
        listing = Listing("stock_movements", request.product_id)
        found = await self._warehouse.movements(current_actor(), request.product_id, listing, request)
        for item in listing.items(context, found):
            yield _movement(item)


def _product(product: Product) -> pb.Product:
    message = pb.Product(
        id=product.id,
        name=product.name,
        description=product.description,
        price=from_cents(product.price),
        stock=min(product.stock, INT32_MAX),
        category=product.category,  # type: ignore[arg-type]  # the domain's numbers are the contract's
        tags=product.tags,
        version=product.version,
    )
    message.created_at.FromMicroseconds(product.created_at)
    message.updated_at.FromMicroseconds(product.updated_at)
    return message


def _movement(movement: Movement) -> pb.StockMovement:
    message = pb.StockMovement(
        id=movement.id,
        product_id=movement.product_id,
        kind=_KIND_NUMBERS[movement.kind],
        stock_change=movement.stock_change,
        held_change=movement.held_change,
        stock=movement.stock_after or 0,
        key=movement.key or "",
        note=movement.note,
        user_id=movement.user_id,
    )
    message.at.FromMicroseconds(movement.at)
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
