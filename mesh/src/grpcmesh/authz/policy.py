"""The policy file, parsed: `[[allow]]` for workloads and `[users]` for users. Pure."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grpcmesh.call import Method, Workload

_METHOD = re.compile(r"[A-Za-z_][\w.]*/(\*|[A-Za-z_]\w*)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


#: Characters of a message: it may quote the file.
_MAX_MESSAGE = 500


class PolicyError(Exception):
    """The policy file is wrong; the message is one line of printable characters."""

    def __init__(self, message: str) -> None:
        printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message[:_MAX_MESSAGE])
        super().__init__(printable)


@dataclass(frozen=True, slots=True)
class UserRule:
    """The requirement that a method has of the user of a call."""

    #: No token is needed ("anyone").
    optional: bool = False
    #: One of them is needed; empty: any user will do.
    roles: frozenset[str] = frozenset()


#: What applies to a method that `[users]` does not list: a valid token.
DEFAULT_RULE = UserRule()


@dataclass(frozen=True)
class Policy:
    """Who may call what. What is not said is denied.

    `workloads` maps a method or `Service/*` to the callers that may: short names (of the own trust
    domain and namespace) or whole SPIFFE ids. `users` maps the same to the rule for users.
    """

    workloads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    users: Mapping[str, UserRule] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> "Policy":
        """Reads TOML.

        Raises:
            PolicyError: with the entry that is wrong.
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
        """Whether the caller may call the method.

        Args:
            caller: As its certificate says.
            method: That it wants.
            trust_domain: In which short names are meant.
            namespace: The same.
        """
        names = {str(caller)}
        if (caller.trust_domain, caller.namespace) == (trust_domain, namespace):
            names.add(caller.service)
        keys = (method.full_name, f"{method.service}/*")
        return any(not names.isdisjoint(self.workloads.get(key, ())) for key in keys)

    def user_rule(self, method: Method) -> UserRule:
        """The rule of the method, else of its service, else that a valid token is needed."""
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
    if not (_NAME.fullmatch(caller) or Workload.parse(caller)):
        raise PolicyError(f"{where}: from: {caller!r} is neither a service's name nor a SPIFFE id")
    return caller


def _method(where: str, method: str) -> str:
    if not _METHOD.fullmatch(method):
        raise PolicyError(f"{where}: {method!r} is neither package.Service/Method nor package.Service/*")
    return method
