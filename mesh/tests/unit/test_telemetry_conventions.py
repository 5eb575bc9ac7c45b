"""Each attribute that is emitted has a name of OpenTelemetry's newest released conventions, or is our own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import grpc
import opentelemetry.semconv as package
import pytest
from opentelemetry.semconv import schemas

from grpcmesh.call import Kind, Method, Principal, Purpose, ServerCall, Workload
from grpcmesh.config import MeshConfig
from grpcmesh.telemetry.otlp import resource_of
from grpcmesh.telemetry.tracing import SCHEMA_URL, ClientTrace, ServerTrace
from tests.unit.tracingkit import ListRecorder, Web, send, serve, tracer


def conventions() -> tuple[set[str], set[str]]:
    """Return the names of all attributes of the installed conventions, and those that are deprecated.

    A constant says in the text below it that it is deprecated. One of the development modules may say that
    because it has become stable.
    """
    names: set[str] = set()
    old: set[str] = set()
    for module in Path(package.__path__[0]).rglob("*_attributes.py"):
        stable = "_incubating" not in module.parts
        for name, text in _constants(module):
            names.add(name)
            if not stable and text.strip().startswith("Deprecated") and "in favor of stable" not in text:
                old.add(name)
    return names, old


def _constants(path: Path) -> Iterator[tuple[str, str]]:
    statements = ast.parse(path.read_text()).body
    for statement, after in zip(statements, [*statements[1:], ast.Pass()], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.value, ast.Constant):
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            yield str(statement.value.value), str(after.value.value) if told else ""  # type: ignore[attr-defined]


NAMES, DEPRECATED = conventions()


def unknown(names: set[str]) -> set[str]:
    """Return the names that the conventions do not have, or no longer, and that are not the mesh's own."""
    return {name for name in names if not name.startswith("mesh.") and name not in NAMES - DEPRECATED}


def test_the_check_knows_old_names_from_new_ones() -> None:
    old = {"rpc.system", "rpc.grpc.status_code", "db.statement", "http.method", "rpc.attempts"}
    assert unknown(old) == old
    assert unknown({"rpc.system.name", "db.query.text", "error.type", "mesh.target"}) == set()


def test_the_version_is_the_newest_that_is_installed() -> None:
    released = [each.value for each in schemas.Schemas]
    assert max(released, key=lambda url: [int(n) for n in url.rpartition("/")[2].split(".")]) == SCHEMA_URL


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


def failed(recorder: ListRecorder) -> None:
    """Record a served call and a call with two attempts that fail, with all that may be known of them."""
    layer = ServerTrace(tracer(recorder), "127.0.1.1:50051", "cluster.local", "default")
    served = serve(layer)
    served.workload = Workload("cluster.local", "default", "storefront")
    served.principal = Principal(7, "alice")
    served.code = grpc.StatusCode.INTERNAL
    layer.on_end(served)
    client = ClientTrace(tracer(recorder))
    call = send(client)
    call.endpoint, call.attempts, call.code = "127.0.1.1:50051", 2, grpc.StatusCode.UNAVAILABLE
    client.on_attempt(call, grpc.StatusCode.UNAVAILABLE)
    client.on_end(call)


async def test_every_attribute_of_a_span_is_in_the_conventions(recorder: ListRecorder) -> None:
    failed(recorder)
    web = Web(tracer(recorder), status=500)
    await web.request()
    await web.request(method="BREW")
    emitted = {name for span in recorder.spans for name in span.attributes}
    emitted |= {name for span in recorder.spans for _, event in span.events for name in event}
    assert len(emitted) > 15
    assert unknown(emitted) == set()


def test_every_attribute_of_the_resource_is_in_the_conventions() -> None:
    resource = resource_of(MeshConfig("shop", "shop-1"))
    assert unknown(set(resource.attributes)) == set()


def test_a_method_that_is_unknown_is_no_value_and_no_name(recorder: ListRecorder) -> None:
    path = Method.parse("/unknown/unknown", Kind.BIDI_STREAM)
    call = ServerCall(path, None, 0.0, {}, Purpose.UNKNOWN)  # type: ignore[arg-type]
    ServerTrace(tracer(recorder), "127.0.1.1:50051", "cluster.local", "default").on_start(call)
    assert (call.span.name, call.span.attributes["rpc.method"]) == ("grpc", "_OTHER")


async def test_an_http_method_that_is_unknown_is_no_name(recorder: ListRecorder) -> None:
    await Web(tracer(recorder)).request(method="BREW")
    [span, _] = recorder.spans
    assert span.name == "HTTP /products/{id}"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "BREW"
