"""Reads a replica's pages over HTTP. Blocking: call it with `asyncio.to_thread`."""

import json
import re
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from local.errors import NoAnswerError

_TIMEOUT = 5.0


def samples(url: str) -> Sequence[Sample]:
    """Return every sample of a metrics page.

    Raises:
        NoAnswerError: it does not answer.
    """
    return [s for family in text_string_to_metric_families(_fetch(url)) for s in family.samples]


def sample(url: str, name: str) -> float | None:
    """Return the value of a metric without labels; None if the page does not have it.

    Raises:
        NoAnswerError: it does not answer.
    """
    return values(url, name).get(name)


def values(url: str, *names: str) -> Mapping[str, float]:
    """Return the values of metrics without labels, by name, as far as the page has them.

    Raises:
        NoAnswerError: it does not answer.
    """
    # A hundredth of the work of parsing the whole page.
    wanted = "|".join(map(re.escape, names))
    found = re.findall(rf"^({wanted}) (\S+)$", _fetch(url), re.MULTILINE)
    return {name: float(value) for name, value in found}


def document(url: str) -> Any:
    """Return a page of JSON.

    Raises:
        NoAnswerError: it does not answer.
    """
    return json.loads(_fetch(url))


def _fetch(url: str) -> str:
    # Without proxies: a replica is on loopback, or in the pods' network.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_TIMEOUT) as reply:
            return str(reply.read().decode())
    except OSError as e:
        raise NoAnswerError(f"no answer from {url}: {e}") from e
