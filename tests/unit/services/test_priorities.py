"""The table of priorities names methods that there are, and puts a checkout before browsing."""

import importlib
import inspect
import pkgutil

import ecommerce
import pytest

from services.kit.priorities import PRIORITIES
from services.manifest import GRPC, shop

SERVICES = [name for name, manifest in shop().items() if manifest.kind == GRPC]


def test_every_name_is_a_method_of_the_contract() -> None:
    known = set()
    for module in pkgutil.iter_modules(ecommerce.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"ecommerce.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                known |= {f"{service.full_name}/{method.name}" for method in service.methods}
    assert PRIORITIES.keys() - known == set()


@pytest.mark.parametrize(
    ("service", "checkout", "browsing"),
    [
        ("ProductService", "ReserveStock", "SearchProducts"),
        ("OrderService", "CreateOrder", "ListOrders"),
        ("PaymentService", "ProcessPayment", "GetPaymentHistory"),
    ],
)
def test_a_checkout_goes_before_browsing(service: str, checkout: str, browsing: str) -> None:
    assert PRIORITIES[f"ecommerce.{service}/{checkout}"] == "critical"
    assert PRIORITIES[f"ecommerce.{service}/{browsing}"] == "sheddable"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_them_in_force(name: str) -> None:
    main = importlib.import_module(f"services.{name}.main")
    assert "app.prioritize(PRIORITIES)" in inspect.getsource(main.build)
