"""Adds up calls by the code that they ended with. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from meshmart.console import codes
from meshmart.console.model import Traffic
from meshmart.console.series import Key
from meshmart.console.window import quantile


def traffic(
    rates: Mapping[str, float], calls: Mapping[str, float], buckets: Mapping[float, float]
) -> Traffic:
    """Return the calls of a process, or of several.

    Args:
        rates: Calls per second by code.
        calls: The number of calls by code.
        buckets: The rate of unary calls by the upper bound of their latency, cumulative, in seconds.
    """
    return Traffic(
        sum(rates.values()),
        _failed(rates),
        quantile(0.99, buckets),
        sum(calls.values()),
        _failed(calls),
        codes.of(rates, calls),
    )


def by_code(kind: str, values: Mapping[Key, float]) -> Mapping[str, float]:
    """Return the values of one kind by their code."""
    return {key[1]: value for key, value in values.items() if key[0] == kind}


def total(parts: Iterable[Traffic], buckets: Mapping[float, float]) -> Traffic:
    """Return the calls of several processes. `buckets` are those of all of them together."""
    rates: dict[str, float] = defaultdict(float)
    calls: dict[str, float] = defaultdict(float)
    for part in parts:
        for code in part.codes:
            rates[code.name] += code.rate
            calls[code.name] += code.calls
    return traffic(rates, calls, buckets)


def _failed(values: Mapping[str, float]) -> float:
    return sum(value for name, value in values.items() if codes.failed(name))
