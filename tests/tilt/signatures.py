"""Types of a stub's arguments, checked at the call, as Tilt's own unpacking checks them."""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from tests.tilt.session import TiltError


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, refusing arguments that its annotations do not admit.

    Raises:
        TypeError: by the call, for a name it does not know (Python says that itself).
        TiltError: by the call, for a value of a wrong type.
    """
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            variadic = signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            if name in hints and not variadic and not _admits(hints[name], value):
                raise TiltError(f"{function.__name__}: {name}={value!r} is not {hints[name]}")
        return function(*args, **kwargs)

    return call


def _admits(hint: Any, value: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_admits(each, value) for each in inner)
    if origin is list:
        return isinstance(value, list) and all(_admits(inner[0], each) for each in value)
    if origin is dict:
        return isinstance(value, dict) and all(_admits(inner[1], each) for each in value.values())
    if hint is int and isinstance(value, bool):
        return False
    return isinstance(value, hint if hint is not None else type(None))
