"""Reads JSON documents over HTTP, bounded in size and time. Their contents are not trusted."""

import json
from typing import Any
from urllib.parse import urlsplit

from local.errors import NoAnswerError
from meshmart.scrape import Pages


async def fetch(base: str, path: str, most: int, timeout: float) -> Any:
    """Return a document. No token is sent.

    Args:
        base: The server's URL (`http` only), perhaps with the beginning of the path.
        path: The rest of the path and the query.
        most: The largest document in bytes.
        timeout: Seconds for everything.

    Raises:
        NoAnswerError: it does not answer in time, or not with such a document.
    """
    try:
        parts = urlsplit(base)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme != "http":
        raise NoAnswerError(f"{base!r} is not an http URL of a server")
    pages = Pages(host, port, most=most)
    try:
        return json.loads(await pages.get(f"{parts.path.rstrip('/')}{path}", timeout))
    except (ValueError, RecursionError):
        raise NoAnswerError(f"the answer of {base} is not JSON") from None
    finally:
        pages.close()
