"""The services that import-linter's contracts in pyproject.toml name."""

import json
import re

from services.manifest import GRPC, Manifests


def render(text: str, manifests: Manifests) -> str:
    """Return pyproject.toml with the lists of services that follow from the manifests.

    Raises:
        ValueError: a contract is not there.
    """
    names, layered = list(manifests), [m.name for m in manifests.values() if m.kind == GRPC]
    for key, first, modules in (
        ("modules", "services.", [f"services.{name}" for name in names]),
        ("containers", "services.", [f"services.{name}" for name in layered]),
        ("source_modules", r"services.\w+.domain", [f"services.{name}.domain" for name in layered]),
    ):
        line = re.compile(rf'^{key} = \["{first}.*\]$', re.MULTILINE)
        text, count = line.subn(f"{key} = {json.dumps(modules)}", text)
        if count != 1:
            raise ValueError(f"pyproject.toml must have one contract of import-linter with {key} = services")
    return text
