"""Kubernetes' own schemas, strict, from the package kubernetes-validate; custom resources from crds.py."""

import functools
import importlib.resources
import json
import re
from typing import Any

import jsonschema
import referencing
import referencing.jsonschema

from tests.chart.crds import CRDS
from tests.chart.helm import Manifest


def problems(manifest: Manifest, version: str) -> list[str]:
    """What is wrong with an object, a line each.

    Args:
        manifest: The object.
        version: Of Kubernetes, `1.30.0`.

    Raises:
        KeyError: no schema is known for its kind.
    """
    return list(_problems(json.dumps(manifest, sort_keys=True), version))


@functools.cache  # most objects are the same in every rendering, by either Helm
def _problems(text: str, version: str) -> tuple[str, ...]:
    manifest = json.loads(text)
    validator = _validator(manifest["apiVersion"], manifest["kind"], version)
    return tuple(f"{e.json_path}: {e.message}" for e in validator.iter_errors(manifest))


@functools.cache
def _validator(api_version: str, kind: str, version: str) -> Any:
    if (api_version, kind) in CRDS:
        return jsonschema.Draft7Validator(CRDS[api_version, kind])
    folder = importlib.resources.files("kubernetes_validate").joinpath(
        "kubernetes-json-schema", f"v{version}-local-strict"
    )
    # rbac.authorization.k8s.io/v1 → rbac-v1
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    file = folder.joinpath(f"{kind.lower()}-{group}.json")
    if not file.is_file():
        raise KeyError(f"{api_version} {kind} is unknown to Kubernetes {version}")
    return jsonschema.Draft202012Validator(json.loads(file.read_text()), registry=_registry(version))


@functools.cache
def _registry(version: str) -> Any:
    folder = importlib.resources.files("kubernetes_validate").joinpath(
        "kubernetes-json-schema", f"v{version}-local-strict"
    )
    definitions = json.loads(folder.joinpath("_definitions.json").read_text())
    resource = referencing.Resource(definitions, referencing.jsonschema.DRAFT202012)
    return referencing.Registry().with_resource("_definitions.json", resource)
