"""Finds every function of a service that sends statements to its database.

That is what makes a test of statements whole: one that is written tomorrow is found, too.
"""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from services.kit.db import Database

#: Parts of the kit whose statements a service sends.
_KIT = ("services.kit.outbox", "services.kit.audit")
#: Run by migrations, beside the shop, and only where there is nothing yet.
_NOT_SERVING = ("seed", "migrations", "main")
#: Send no statement of their own.
_WRAPPERS = frozenset({"AuditLog.around", "AuditLog.list"})


def storage_functions(service: str) -> dict[str, tuple[Any, str]]:
    """Return the public functions that take a `Database`, or are methods of a class that does.

    Return:
        The owner (a class or module) and the attribute, by "module.Class.method" or "module.function".
    """
    found: dict[str, tuple[Any, str]] = {}
    for module in _modules(service):
        for owner, name in _of(module):
            label = f"{owner.__name__}.{name}" if inspect.isclass(owner) else name
            if label not in _WRAPPERS:
                found[f"{module.__name__}.{label}"] = owner, name
    return found


def calls_of(functions: dict[str, tuple[Any, str]], patch: pytest.MonkeyPatch) -> set[str]:
    """Return a set to which the name of each of the functions is added when it is called."""
    called: set[str] = set()

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            called.add(name)
            return function(*args, **kwargs)

        return call

    for name, (owner, attribute) in functions.items():
        patch.setattr(owner, attribute, noted(name, vars(owner)[attribute]))
    return called


def _modules(service: str) -> Iterator[ModuleType]:
    package = importlib.import_module(f"services.{service}")
    for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if info.name.rpartition(".")[2] not in _NOT_SERVING:
            yield importlib.import_module(info.name)
    source = "".join(inspect.getsource(importlib.import_module(f"services.{service}.main")))
    for name in _KIT:
        if name.rpartition(".")[2] in source:
            yield importlib.import_module(name)


def _of(module: ModuleType) -> Iterator[tuple[Any, str]]:
    for value in list(vars(module).values()):
        if getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(value) and _takes_database(value.__init__):
            yield from ((value, name) for name, each in vars(value).items() if _is_public(name, each))
        elif inspect.isfunction(value) and _is_public(value.__name__, value) and _takes_database(value):
            yield module, value.__name__


def _is_public(name: str, value: object) -> bool:
    return inspect.isfunction(value) and not name.startswith("_")


def _takes_database(function: Any) -> bool:
    if not inspect.isfunction(function):
        return False
    return any(
        p.annotation in (Database, "Database") for p in inspect.signature(function).parameters.values()
    )
