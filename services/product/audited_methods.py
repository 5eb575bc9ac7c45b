"""The methods of ProductService that are written to the audit log: what admins do to the catalogue and its
stock.
"""

from collections.abc import Mapping

from ecommerce import product_pb2 as pb

from services.kit.audit import AuditedMethod


def _created(request: pb.CreateProductRequest) -> str:
    return f"{request.price:.2f}, stock {request.stock}: {request.name}"


def _updated(request: pb.UpdateProductRequest) -> str:
    """Return the fields that a request names, with the values of price and stock."""
    paths = list(request.update_mask.paths) or ["name", "price", "stock", "category", "tags", "description"]
    numbers = {"price": f"={request.price:.2f}", "stock": f"={request.stock}"}
    return ", ".join(f"{path}{numbers.get(path, '')}" for path in paths)


def _adjusted(request: pb.AdjustStockRequest) -> str:
    return f"{request.change:+d}: {request.note}"


AUDITED: Mapping[str, AuditedMethod] = {
    "CreateProduct": AuditedMethod("product", detail=_created),
    "CreateProducts": AuditedMethod("product"),
    "UpdateProduct": AuditedMethod("product", lambda request: request.id, _updated),
    "DeleteProduct": AuditedMethod("product", lambda request: request.id),
    "AdjustStock": AuditedMethod("product", lambda request: request.product_id, _adjusted),
}
