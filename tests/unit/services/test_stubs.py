"""What can be read from code about the calls that it makes, and what is refused because it cannot be read."""

from pathlib import Path

import pytest

from tests.unit.services.stubs import CannotTellError, calls

IMPORT = "from ecommerce.order_pb2_grpc import OrderServiceStub\n"


def read(root: Path, code: str, **others: str) -> frozenset[tuple[str, str]]:
    for name, text in {"main": code, **others}.items():
        path = root / "services" / "review" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return calls("review", root)


@pytest.mark.parametrize(
    "code",
    [
        "async def f(c): await OrderServiceStub(c).GetOrder(1)",
        "async def f(c):\n  stub: Any = OrderServiceStub(c)\n  await stub.GetOrder(1)",
        "class C:\n  def __init__(self, c): self._stub, self.n = OrderServiceStub(c), 1\n"
        "  def f(self): return lambda: self._stub.GetOrder(1)",
        "import ecommerce.order_pb2_grpc as o\ndef f(c): return o.OrderServiceStub(c).GetOrder",
        "class C:\n  def __init__(self, c): self._stub = OrderServiceStub(c)\n  @property\n"
        "  def orders(self): return self._stub\ndef f(c): return C(c).orders.GetOrder(1)",
    ],
)
def test_a_stub_is_followed_to_the_methods_that_are_called(tmp_path: Path, code: str) -> None:
    assert read(tmp_path, IMPORT + code) == {("OrderService", "GetOrder")}


@pytest.mark.parametrize(
    "code",
    [
        "def f(c): g(OrderServiceStub(c))",
        "def f(c):\n  stub = OrderServiceStub(c)\n  g(stub)",
        "def f(c, name):\n  stub = OrderServiceStub(c)\n  return getattr(stub, name)",
        "class C:\n  def __init__(self, c): self._s = OrderServiceStub(c)\n  def f(self): return self._s",
        "MADE = (OrderServiceStub,)",
        "from ecommerce.order_pb2_grpc import OrderServiceStub as Made",
        "def f(c): return c.unary_unary('/ecommerce.OrderService/GetOrder')",
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path: Path, code: str) -> None:
    with pytest.raises(CannotTellError):
        read(tmp_path, IMPORT + code)


def test_two_classes_of_one_module_may_use_the_same_name(tmp_path: Path) -> None:
    code = (
        IMPORT + "from ecommerce.user_pb2_grpc import UserServiceStub\n"
        "class A:\n  def __init__(self, c): self._s = OrderServiceStub(c)\n  def f(self): self._s.GetOrder\n"
        "class B:\n  def __init__(self, c): self._s = UserServiceStub(c)\n  def f(self): self._s.GetUser(1)\n"
    )
    assert read(tmp_path, code) == {("OrderService", "GetOrder"), ("UserService", "GetUser")}


def test_code_that_the_process_does_not_import_calls_nothing(tmp_path: Path) -> None:
    code = IMPORT + "async def f(c): await OrderServiceStub(c).GetOrder(1)"
    assert read(tmp_path / "a", "", unused=code) == frozenset()
    found = read(tmp_path / "b", "from services.review import used", used=code)
    assert found == {("OrderService", "GetOrder")}
