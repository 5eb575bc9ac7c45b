"""What the chart knows of the shop: `services` in values.yaml, and the template `meshmart.shop`."""

import json
import re
from collections.abc import Iterable, Iterator

from services.manifest import LOAD, MAIL, SIGNING_KEYS, WEB, Manifest, Manifests

#: Of `default` in values.yaml.
_REPLICAS = 2
_SERVICES = re.compile(r"^services:\n(?: .*\n)+", re.MULTILINE)
_SECRETS = {SIGNING_KEYS: "signingKeys", MAIL: "mail"}


def values(text: str, manifests: Manifests) -> str:
    """Return values.yaml with the entries of `services` that follow from the manifests.

    Raises:
        ValueError: the text has no key `services`.
    """
    entries = [line for m in manifests.values() for line in (f"  {m.name}:", *_indented(_entry(m), 4))]
    rendered, count = _SERVICES.subn(lambda _: "\n".join(("services:", *entries, "")), text)
    if count != 1:
        raise ValueError("values.yaml must have the key `services` once, with entries")
    return rendered


def shop(manifests: Manifests) -> str:
    """Return the file of the template `meshmart.shop`: names of services, for checks of the values."""
    every = manifests.values()
    lists = {
        "services": [m.name for m in every],
        "storing": [m.name for m in every if m.stores],
        "signing": [m.name for m in every if SIGNING_KEYS in m.secrets],
    }
    lines = [f"{key}: {json.dumps(names)}" for key, names in lists.items()]
    head = "{{- /* Written by `make manifests` from the manifests of the services. */ -}}"
    return "\n".join((head, "", '{{- define "meshmart.shop" -}}', *lines, "{{- end }}", ""))


def _entry(manifest: Manifest) -> Iterator[str]:
    """Return what differs from `default`."""
    if manifest.kind in (WEB, LOAD):
        yield f"component: {manifest.kind}"
    if manifest.kind == WEB:
        yield "web: true"
    if not manifest.stores:
        yield "database: false"
    yield f"calls: [{', '.join(sorted(manifest.calls))}]"
    if manifest.kind == WEB:
        yield "# Endpoints leave kube-proxy and ingress controllers some time after the pod is told to go."
        yield "preStopSleep: 5"
    if manifest.replicas == 0:
        yield "# None until it is asked for."
    if manifest.replicas != _REPLICAS:
        yield f"replicas: {manifest.replicas}"
    for secret in manifest.secrets:
        yield f"{_SECRETS[secret]}: true"
    yield from _env(manifest)


def _env(manifest: Manifest) -> Iterator[str]:
    if manifest.env:
        yield "env:"
    for name, variable in manifest.env.items():
        yield from (f"  # {line}" for line in variable.about.strip().splitlines())
        yield f"  {name}: {json.dumps(variable.value)}"


def _indented(lines: Iterable[str], width: int) -> Iterator[str]:
    return (" " * width + line for line in lines)
