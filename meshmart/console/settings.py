"""Reads the settings in force of a choice from a replica's admin port."""

import json
import re
from collections.abc import Iterator
from typing import Any

from local.errors import NoAnswerError
from meshmart import scrape
from meshmart.console.choice import Choice
from meshmart.console.reads import problem

#: The largest page that is read, in bytes, and the seconds that it may take.
MAX_PAGE, TIMEOUT = 512 * 1024, 3.0
#: The most settings that are shown, and the most characters of each of their texts.
MAX_ROWS, MAX_TEXT = 500, 600
#: The settings of a process that concern the calls that it makes.
_OF_CALLS = re.compile(r"MESH_(BALANCER|CHANNEL|DEADLINE|HEALTH|RESOLVER|RETRY|SERVICE_CONFIG|TARGETS)(_|$)")
_COLUMNS = ("name", "value", "source")


async def read(choice: Choice) -> bytes:
    """Return the settings of the first replica of a choice, as JSON for the page."""
    if not choice.replicas:
        return problem(f"{choice.service} has no replica")
    watched = choice.replicas[0]
    try:
        told = json.loads(await _page(watched.metrics))
    except NoAnswerError as e:
        return problem(str(e))
    except (ValueError, RecursionError):
        return problem(f"the settings page of {watched.name} has a form that the console does not know")
    return json.dumps({"of": watched.name, "rows": rows(told, choice.target)}).encode()


async def _page(metrics: str) -> str:
    port, _ = scrape.pages(metrics, most=MAX_PAGE)
    try:
        return await port.get("/settings.json", TIMEOUT)
    finally:
        port.close()


def rows(told: Any, target: str = "") -> list[list[str]]:
    """Return the name, the value and the source of each setting that concerns a choice.

    Args:
        told: The content of a replica's page. Anything that is not a setting is left out.
        target: The service that is called, if only the calls to it matter.
    """
    groups = told.items() if isinstance(told, dict) else ()
    of_targets = [s for name, some in groups if name and _is(name, target) for s in _settings(some)]
    own = [s for name, some in groups if not name for s in _settings(some)]
    if target:
        return [*of_targets, *(s for s in own if _OF_CALLS.match(s[0]))][:MAX_ROWS]
    return [*own, *of_targets][:MAX_ROWS]


def _is(name: str, target: str) -> bool:
    """Return whether a name of a target, which may be a full DNS name, is that of a service."""
    return not target or name.partition(".")[0] == target


def _settings(some: Any) -> Iterator[list[str]]:
    for setting in some if isinstance(some, list) else ():
        if isinstance(setting, dict) and all(isinstance(setting.get(c), str) for c in _COLUMNS):
            yield [setting[c][:MAX_TEXT] for c in _COLUMNS]
