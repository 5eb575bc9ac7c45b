"""Counts and logs unexpected exceptions of layers' hooks."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

_log = logging.getLogger(__name__)


class HookErrors:
    """Counts exceptions that hooks raised although they may not.

    Args:
        side: `client` or `server`.
    """

    def __init__(self, side: str) -> None:
        self._side = side
        self._counts: dict[tuple[str, str], int] = {}

    def note(self, hook: Callable[..., Any], error: BaseException) -> None:
        """Count the error of a hook, a bound method of a layer. The hook's first error is logged."""
        let_through(error)
        layer, name = type(getattr(hook, "__self__", hook)).__name__, getattr(hook, "__name__", "hook")
        count = self._counts[layer, name] = self._counts.get((layer, name), 0) + 1
        if count == 1:
            _log.error(
                "layer %s raised in %s; further errors of it are only counted", layer, name, exc_info=error
            )

    def collect(self) -> Iterator[Metric]:
        """Yield the number of errors by layer and hook."""
        text = "Hooks of layers that raised what they may not raise."
        family = CounterMetricFamily("mesh_layer_errors", text, labels=["side", "layer", "hook"])
        for (layer, name), count in self._counts.items():
            family.add_metric([self._side, layer, name], count)
        yield family


def let_through(error: BaseException) -> None:
    """Raise a `KeyboardInterrupt` again: out of the running event loop, or at once in a thread without one.

    It was meant for the process, and not for the call whose code it happened to interrupt.
    """
    if not isinstance(error, KeyboardInterrupt):
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise error from None
    loop.call_soon(_raise, error)


def _raise(error: BaseException) -> NoReturn:
    raise error
