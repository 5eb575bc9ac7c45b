import grpc
import pytest
from google.rpc import error_details_pb2

from grpcmesh import errors, status


def test_every_typed_error_has_a_code_of_its_own() -> None:
    raised = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.MeshError)]
    codes = [status.code_of(e.__new__(e)) for e in raised if e is not errors.MeshError]
    assert grpc.StatusCode.INTERNAL not in codes
    assert len(set(codes)) == len(codes)


def test_a_subclass_has_the_code_of_its_parent() -> None:
    class OutOfStock(errors.FailedPrecondition):
        pass

    code, message, trailing = status.to_wire(
        OutOfStock("not enough", "OUT_OF_STOCK", product="7"), "shop.example.com"
    )
    assert (code, message) == (grpc.StatusCode.FAILED_PRECONDITION, "not enough")
    wire = status.from_wire(trailing)
    assert wire is not None
    info = error_details_pb2.ErrorInfo()
    assert wire.details[0].Unpack(info)
    assert (info.reason, info.domain) == ("OUT_OF_STOCK", "shop.example.com")
    assert dict(info.metadata) == {"product": "7"}


def test_a_reason_may_name_its_own_domain() -> None:
    error = errors.Aborted("lost a race", "CONFLICT")
    error.reason = errors.Reason("CONFLICT", "billing.example.com")
    (detail,) = status.details_of(error, "shop.example.com")
    assert isinstance(detail, error_details_pb2.ErrorInfo)
    assert (detail.reason, detail.domain) == ("CONFLICT", "billing.example.com")


def test_every_wrong_field_is_named() -> None:
    violations = [errors.FieldViolation("name", "is empty"), errors.FieldViolation("price", "is negative")]
    _, message, trailing = status.to_wire(errors.InvalidArgument(violations))
    wire = status.from_wire(trailing)
    assert message == "name: is empty; price: is negative"
    assert wire is not None
    bad = error_details_pb2.BadRequest()
    assert wire.details[0].Unpack(bad)
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("name", "is empty"),
        ("price", "is negative"),
    ]


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0, "0"), (0.25, "250"), (3.0, "3000")])
def test_when_to_retry_is_told_in_details_and_as_pushback(seconds: float, milliseconds: str) -> None:
    _, _, trailing = status.to_wire(errors.ResourceExhausted("slow down", seconds))
    assert (status.PUSHBACK_KEY, milliseconds) in trailing
    wire = status.from_wire(trailing)
    assert wire is not None
    info = error_details_pb2.RetryInfo()
    assert wire.details[0].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == int(milliseconds)


@pytest.mark.parametrize(
    "error", [KeyError("a secret"), errors.MeshError("a secret"), ValueError("a secret")]
)
def test_an_error_outside_the_table_tells_nothing(error: Exception) -> None:
    assert status.to_wire(error) == (grpc.StatusCode.INTERNAL, "internal error", ())


def test_metadata_without_details_has_none() -> None:
    assert status.from_wire(None) is None
    assert status.from_wire((("other", b"1"),)) is None
