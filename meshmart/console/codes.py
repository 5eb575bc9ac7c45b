"""The codes that calls and pages end with, in bounded number. Pure."""

import re
from collections.abc import Mapping
from typing import NamedTuple

#: The codes that dashboards and alerts count as failures of the server, in their order.
FAILURES = ("Unknown", "DeadlineExceeded", "ResourceExhausted", "Internal", "Unavailable", "DataLoss")
OK = "OK"
#: The codes of gRPC, as the label `grpc_code` has them.
CODES = frozenset(
    {OK, "Cancelled", "InvalidArgument", "NotFound", "AlreadyExists", "PermissionDenied", "Unauthenticated"}
    | {"FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", *FAILURES}
)
#: What stands for every code that is none, and for those beyond `MOST`.
OTHER = "other"
#: The most codes that are shown for one service, replica or edge.
MOST = 20

_STATUS = re.compile(r"0|[45][0-9]{2}")


class Code(NamedTuple):
    """The calls that ended with one code."""

    name: str
    """A code of gRPC, or the status of a page from 400 on; a page with another status is `OK`."""
    rate: float
    """Calls per second, over the last seconds."""
    calls: float
    """Calls since the processes started."""


def of_call(code: str) -> str:
    """Return the name of a code of gRPC."""
    return code if code in CODES else OTHER


def of_page(status: str) -> str:
    """Return the name of an HTTP status. 0 means that the page had no status, because its server failed."""
    if _STATUS.fullmatch(status):
        return status
    return OK if status[:1] in ("1", "2", "3") else OTHER


def failed(name: str) -> bool:
    """Return whether a code is a failure of the server."""
    return name in FAILURES or name[:1] in ("0", "5")


def of(rates: Mapping[str, float], calls: Mapping[str, float]) -> tuple[Code, ...]:
    """Return the codes that calls ended with, at most `MOST`; the code of the most calls first.

    Args:
        rates: The rate by code.
        calls: The number of calls by code.
    """
    ended = [Code(name, rates.get(name, 0.0), number) for name, number in calls.items() if number > 0]
    ended.sort(key=lambda code: (-code.calls, code.name))
    if len(ended) <= MOST:
        return tuple(ended)
    shown = [code for code in ended if code.name != OTHER][: MOST - 1]
    others = [code for code in ended if code not in shown]
    return (*shown, Code(OTHER, sum(c.rate for c in others), sum(c.calls for c in others)))
