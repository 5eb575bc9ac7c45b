"""The authorization policy, `services/policy.toml` (its form: mesh/docs/authz.md)."""

import json
from collections.abc import Iterable, Iterator

from services.manifest import CONSOLE, OPERATOR, USER, Manifest, Manifests

FAULTS = "mesh.fault.v1.FaultService/*"

_HEADER = f"""\
# Who may call what. Everything that is not said here is denied.
# Written by `python -m tools.manifests` from services/*/service.toml: change those.
#
# [[allow]]: workloads, by the service name of their SPIFFE identity in this trust domain and namespace.
#            `{OPERATOR}` is the operator's identity: every public method, but no internal one.
#            `{CONSOLE}` is the console's on Kubernetes: admins log in.
#            `outsider` is nowhere in this file: a member that may call nothing, for the tour's intruder.
# [users]:   what a call needs of its user: "anyone" (no token), "user" (a valid token), or a list of
#            roles of which it needs one. A method that is not listed needs a valid token. Whose thing it is,
#            the service itself decides.
"""
#: What the console calls by itself: meshmart/console/accounts.py.
CONSOLE_METHODS = tuple(f"ecommerce.UserService/{name}" for name in ("Login", "RefreshToken", "Logout"))
_FAULTS = f"""
# Breaks a replica on purpose, where MESH_FAULT_ENABLED lets it be broken.
[[allow]]
from = ["{OPERATOR}"]
methods = ["{FAULTS}"]
"""


def render(manifests: Manifests) -> str:
    """Return the policy as TOML."""
    callers = {
        OPERATOR: tuple(_public(manifests)),
        CONSOLE: CONSOLE_METHODS,
        **{m.name: tuple(_calls(m, manifests)) for m in manifests.values()},
    }
    allowed = [_allow(caller, methods) for caller, methods in callers.items() if methods]
    return "".join((_HEADER, *allowed, _FAULTS, "\n[users]\n", *_users(manifests.values())))


def _public(manifests: Manifests) -> Iterator[str]:
    for manifest in manifests.values():
        yield from (
            f"{manifest.service}/{name}" for name, rule in manifest.methods.items() if not rule.internal
        )


def _calls(manifest: Manifest, manifests: Manifests) -> Iterator[str]:
    for target, methods in manifest.calls.items():
        yield from (f"{manifests[target].service}/{name}" for name in methods)


def _allow(caller: str, methods: Iterable[str]) -> str:
    lines = "".join(f'  "{method}",\n' for method in methods)
    return f'\n[[allow]]\nfrom = ["{caller}"]\nmethods = [\n{lines}]\n'


def _users(manifests: Iterable[Manifest]) -> Iterator[str]:
    for manifest in manifests:
        for name, rule in manifest.methods.items():
            if rule.user != USER:
                # A string or a list of strings is the same in JSON and TOML.
                yield f'"{manifest.service}/{name}" = {json.dumps(rule.user)}\n'
    yield "# The operator's workload decides, whoever the user.\n"
    yield f'"{FAULTS}" = "anyone"\n'
