"""Parses the policy file: `[[allow]]` for workloads and `[users]` for users. Pure."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grpcmesh.call import Method, Workload
from grpcmesh.spiffe import is_pattern, matches

_METHOD = re.compile(r"[A-Za-z_][\w.]*/(\*|[A-Za-z_]\w*)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


#: The most characters of a message, because it may quote the file.
_MAX_MESSAGE = 500


class PolicyError(Exception):
    """Raised for a wrong policy file. The message is one line of printable characters."""

    def __init__(self, message: str) -> None:
        printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message[:_MAX_MESSAGE])
        super().__init__(printable)


@dataclass(frozen=True, slots=True)
class UserRule:
    """The requirement that a method has of the user of a call."""

    #: Whether no token is needed ("anyone").
    optional: bool = False
    #: Roles of which the user needs one. If empty, any user will do.
    roles: frozenset[str] = frozenset()


#: The rule of a method that `[users]` does not list: a valid token is needed.
DEFAULT_RULE = UserRule()


@dataclass(frozen=True)
class Policy:
    """A policy: who may call which method. Calls that it does not allow are denied.

    `workloads` maps a method or `Service/*` to the callers that may call it. Callers are short names, of our
    own trust domain and namespace, full SPIFFE ids, or patterns of ids. `users` maps a method or
    `Service/*` to its user rule.
    """

    workloads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    users: Mapping[str, UserRule] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Parse a policy from TOML.

        Raises:
            PolicyError: The text is wrong. The message names the wrong entry.
        """
        try:
            document = tomllib.loads(text)
        except ValueError as e:  # also of numbers with too many digits, which tomllib does not foresee
            raise PolicyError(str(e)) from e
        except RecursionError as e:
            raise PolicyError("nested too deeply") from e
        if unknown := document.keys() - {"allow", "users"}:
            raise PolicyError(f"unknown section: {', '.join(sorted(unknown))}")
        return cls(_workloads(document.get("allow", [])), _users(document.get("users", {})))

    def allows(self, caller: Workload, method: Method, trust_domain: str, namespace: str) -> bool:
        """Return whether the caller may call the method.

        Args:
            caller: The workload in the caller's certificate.
            method: The method that it calls.
            trust_domain: The trust domain of the policy's short names.
            namespace: The namespace of the policy's short names.
        """
        spiffe_id = str(caller)
        names = {spiffe_id, caller.seen_from(trust_domain, namespace)}
        for key in (method.full_name, f"{method.service}/*"):
            allowed = self.workloads.get(key, frozenset())
            if not names.isdisjoint(allowed) or any(matches(p, spiffe_id) for p in allowed if "*" in p):
                return True
        return False

    def user_rule(self, method: Method) -> UserRule:
        """Return the rule of the method, else of its service, else `DEFAULT_RULE`."""
        rule = self.users.get(method.full_name) or self.users.get(f"{method.service}/*")
        return rule or DEFAULT_RULE


def _workloads(entries: Any) -> dict[str, frozenset[str]]:
    if not isinstance(entries, list):
        raise PolicyError("allow: must be tables, [[allow]]")
    allowed: dict[str, frozenset[str]] = {}
    for number, entry in enumerate(entries, 1):
        where = f"allow[{number}]"
        if not isinstance(entry, dict) or entry.keys() != {"from", "methods"}:
            raise PolicyError(f"{where}: must have from and methods, and nothing else")
        callers = frozenset(_caller(where, c) for c in _strings(where, "from", entry["from"]))
        for method in _strings(where, "methods", entry["methods"]):
            allowed[_method(where, method)] = allowed.get(method, frozenset()) | callers
    return allowed


def _users(entries: Any) -> dict[str, UserRule]:
    if not isinstance(entries, dict):
        raise PolicyError("users: must be a table, [users]")
    return {_method("users", method): _rule(method, value) for method, value in entries.items()}


def _rule(method: str, value: Any) -> UserRule:
    if value == "anyone":
        return UserRule(optional=True)
    if value == "user":
        return UserRule()
    if isinstance(value, list) and value and all(isinstance(role, str) and role for role in value):
        return UserRule(roles=frozenset(value))
    raise PolicyError(f'users: {method}: must be "anyone", "user" or a list of roles')


def _strings(where: str, name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise PolicyError(f"{where}: {name}: must be a list of strings")
    return value


def _caller(where: str, caller: str) -> str:
    if not (_NAME.fullmatch(caller) or is_pattern(caller)):
        raise PolicyError(
            f"{where}: from: {caller!r} is neither a service's name nor a SPIFFE id, nor a pattern of ids"
        )
    return caller


def _method(where: str, method: str) -> str:
    if not _METHOD.fullmatch(method):
        raise PolicyError(f"{where}: {method!r} is neither package.Service/Method nor package.Service/*")
    return method
