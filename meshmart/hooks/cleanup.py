"""After an uninstall: `python -m meshmart.hooks.cleanup SELECTOR` deletes the Secrets that hold certificates.

They are not the release's but cert-manager's or the certificates job's. While Certificates are being
deleted cert-manager may write one more, so a look finds nothing several times before this ends.
"""

import sys
import time
from collections.abc import Callable

from meshmart.hooks.api import ApiError, Secrets

#: Seconds for which none must appear, between two looks, and at most in all.
QUIET, INTERVAL, LIMIT = 4.0, 1.0, 60.0


def clean(
    secrets: Secrets,
    selector: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Returns how many were deleted. Raises ApiError, or TimeoutError where they come again and again."""
    started = last_seen = clock()
    deleted = 0
    while clock() - last_seen < QUIET:
        for name in secrets.names(selector):
            secrets.delete(name)
            deleted, last_seen = deleted + 1, clock()
        if clock() - started > LIMIT:
            raise TimeoutError(f"Secrets of {selector} come again and again: is a Certificate left?")
        sleep(INTERVAL)
    return deleted


def main(arguments: list[str]) -> int:
    """Returns the exit status."""
    if len(arguments) != 1:
        sys.stderr.write("cleanup: one argument is needed: a label selector\n")
        return 2
    try:
        deleted = clean(Secrets.of_this_pod(), arguments[0])
    except (ApiError, TimeoutError) as e:
        sys.stderr.write(f"cleanup: {e}\n")
        return 1
    sys.stdout.write(f"{deleted} Secrets deleted\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
