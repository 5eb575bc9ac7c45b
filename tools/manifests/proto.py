"""Compares manifests with the protos: a manifest names each method of its service, and no other."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache

import ecommerce

from services.manifest import FILE, Manifests


@cache
def methods() -> Mapping[str, tuple[str, ...]]:
    """Return the methods of each service of the contract, by the service's full name."""
    modules = (m.name for m in pkgutil.iter_modules(ecommerce.__path__) if m.name.endswith("_pb2"))
    descriptors = [importlib.import_module(f"ecommerce.{name}").DESCRIPTOR for name in modules]
    found = (service for file in descriptors for service in file.services_by_name.values())
    return {service.full_name: tuple(method.name for method in service.methods) for service in found}


def problems(manifests: Manifests) -> Iterator[str]:
    """Return a line for each difference."""
    served = {manifest.service for manifest in manifests.values()}
    for service in sorted(methods().keys() - served):
        yield f"protos: no manifest has service = {service!r}"
    for name, manifest in manifests.items():
        where = f"services/{name}/{FILE}"
        if manifest.service and manifest.service not in methods():
            yield f"{where}: service: the protos have no {manifest.service}"
            continue
        contract = set(methods().get(manifest.service, ()))
        for method in sorted(contract - manifest.methods.keys()):
            yield f"{where}: methods.{method}: is missing"
        for method in sorted(manifest.methods.keys() - contract):
            yield f"{where}: methods.{method}: {manifest.service} has no such method"
