"""Finds the shop's methods by name, in the descriptors of the generated code."""

import importlib
import json
import pkgutil
from collections.abc import AsyncIterator, Iterable
from typing import Any

import ecommerce
import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from meshmart.errors import CommandError
from services.manifest import shop


def find(full_name: str) -> MethodDescriptor:
    """Return the method with a name such as `ecommerce.ProductService/GetProduct`.

    Raises:
        CommandError: there is none; the message names those that exist.
    """
    load()
    service, separator, method = full_name.strip("/").partition("/")
    if not separator:
        raise CommandError(f"{full_name!r} is not of the form package.Service/Method")
    try:
        found = descriptor_pool.Default().FindServiceByName(service)
    except KeyError:
        raise CommandError(f"there is no service {service}; there are {', '.join(services())}") from None
    if method not in found.methods_by_name:
        raise CommandError(f"{service} has no method {method}; it has {', '.join(found.methods_by_name)}")
    return found.methods_by_name[method]


def load() -> list[Any]:
    """Import the generated modules, so that the descriptor pool has them."""
    names = [m.name for m in pkgutil.iter_modules(ecommerce.__path__) if m.name.endswith("_pb2")]
    return [importlib.import_module(f"ecommerce.{name}") for name in names]


def services() -> list[str]:
    """Return the full names of all services."""
    return sorted(s.full_name for module in load() for s in module.DESCRIPTOR.services_by_name.values())


def targets() -> dict[str, str]:
    """Return the full name of each service, by its target name in the mesh."""
    return {name: manifest.service for name, manifest in shop().items() if manifest.service}


def target(method: MethodDescriptor) -> str:
    """Return the target name in the mesh of a method's service: `product` for `ProductService`.

    Raises:
        CommandError: no service of the shop serves it.
    """
    service = method.containing_service.full_name
    for name, served in targets().items():
        if served == service:
            return name
    raise CommandError(f"no service of the shop serves {service}; they serve {', '.join(services())}")


def requests(method: MethodDescriptor, text: str) -> list[Message]:
    """Parse request messages from JSON: an object or, for a client stream, a list of objects.

    Raises:
        CommandError: the text is not valid.
    """
    cls = message_factory.GetMessageClass(method.input_type)
    try:
        parsed = json.loads(text)
        items = parsed if isinstance(parsed, list) and method.client_streaming else [parsed]
        return [json_format.ParseDict(item, cls()) for item in items]
    except (ValueError, json_format.ParseError) as e:
        raise CommandError(f"the request is not a {method.input_type.name}: {e}") from None


def to_json(message: Message) -> str:
    """Return one line of JSON with the proto's field names. Zeros are included, absent messages are not."""
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, indent=None, always_print_fields_with_no_presence=True
    )


async def invoke(
    channel: grpc.aio.Channel,
    method: MethodDescriptor,
    messages: list[Message],
    *,
    metadata: Iterable[tuple[str, str]] = (),
    timeout: float | None = None,
) -> AsyncIterator[Message]:
    """Make a call of any kind, and yield its responses. `timeout` is in seconds."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    serializer = message_factory.GetMessageClass(method.input_type).SerializeToString
    deserializer = message_factory.GetMessageClass(method.output_type).FromString
    sides = ["stream" if s else "unary" for s in (method.client_streaming, method.server_streaming)]
    callable_ = getattr(channel, "_".join(sides))(path, serializer, deserializer)
    request: Any = _each(messages) if method.client_streaming else messages[0]
    call = callable_(request, metadata=tuple(metadata), timeout=timeout)
    if not method.server_streaming:
        yield await call
        return
    try:
        async for response in call:
            yield response
    finally:
        call.cancel()


async def _each(messages: list[Message]) -> AsyncIterator[Message]:
    for message in messages:
        yield message
