"""Implements the port `domain.Catalogue` with the product service, through the mesh."""

import asyncio
from collections.abc import Mapping, Sequence

import grpc
from ecommerce import product_pb2
from ecommerce.product_pb2_grpc import ProductServiceStub

from services.storefront import convert
from services.storefront.calls import READ_TIMEOUT, Caller, next_token
from services.storefront.domain import Category, Listed, Place, Problem, Product, ShopError

#: Concurrent calls for the products of a cart, where one call for all is not supported.
_AT_ONCE = 8


class Catalogue:
    """The `domain.Catalogue` that calls ProductService. It sends no token: browsing needs none."""

    def __init__(self, channel: grpc.aio.Channel, caller: Caller) -> None:
        self._stub, self._caller = ProductServiceStub(channel), caller

    async def product(self, product_id: int) -> Product:
        request = product_pb2.GetProductRequest(id=product_id)
        call = self._stub.GetProduct(request, timeout=READ_TIMEOUT)
        return convert.product((await self._caller.unary("product", "GetProduct", call)).product)

    async def by_ids(self, product_ids: Sequence[int]) -> Mapping[int, Product]:
        request = product_pb2.GetProductsRequest(ids=product_ids)
        call = self._stub.GetProducts(request, timeout=READ_TIMEOUT)
        try:
            found = (await self._caller.unary("product", "GetProducts", call)).products
        except ShopError as e:
            # During a rolling upgrade the replica, or its policy, may be of the previous release.
            if e.problem in (Problem.UNSUPPORTED, Problem.FORBIDDEN):
                return await self._one_by_one(product_ids)
            raise
        return {p.id: convert.product(p) for p in found}

    async def _one_by_one(self, product_ids: Sequence[int]) -> Mapping[int, Product]:
        """Do what `by_ids` does with the method that every release has."""
        turn = asyncio.Semaphore(_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._if_there(i, turn)) for i in product_ids]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return {product.id: product for task in tasks if (product := task.result())}

    async def _if_there(self, product_id: int, turn: asyncio.Semaphore) -> Product | None:
        try:
            async with turn:
                return await self.product(product_id)
        except ShopError as e:
            if e.problem is Problem.NOT_FOUND:
                return None
            raise

    async def page(self, place: Place, size: int, category: Category | None) -> Listed[Product]:
        request = product_pb2.ListProductsRequest(
            page=convert.page_number(place),
            page_size=size,
            category=convert.category_to_wire(category),
            page_token=place.token,
        )
        call = self._stub.ListProducts(request, timeout=READ_TIMEOUT)
        found = await self._caller.collect("product", "ListProducts", call, size)
        return Listed([convert.product(p) for p in found], await next_token(call))

    async def search(
        self, query: str, category: Category | None, min_cents: int, max_cents: int, limit: int
    ) -> list[Product]:
        request = product_pb2.SearchProductsRequest(
            query=query,
            category=convert.category_to_wire(category),
            min_price=min_cents / 100,
            max_price=max_cents / 100,
        )
        call = self._stub.SearchProducts(request, timeout=READ_TIMEOUT)
        found = await self._caller.collect("product", "SearchProducts", call, limit)
        return [convert.product(p) for p in found]
