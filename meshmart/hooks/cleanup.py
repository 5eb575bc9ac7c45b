"""Deletes what an uninstall leaves: `python -m meshmart.hooks.cleanup --release NAME`.

The Secrets that hold certificates belong to cert-manager or to the certificates job, not to the release.
While Certificates are being deleted, cert-manager may write one more, so the search must find nothing for a
while before this ends. Jobs and pods of hooks do not belong to the release either: Helm leaves those that
failed, and the tests'.
"""

import argparse
import sys
import time
from collections.abc import Callable

from meshmart.hooks.api import ApiError, Namespace

#: Seconds for which none must appear, seconds between two searches, and seconds at most in all.
QUIET, INTERVAL, LIMIT = 4.0, 1.0, 40.0
#: The job in which this runs.
_OURSELVES = "cleanup"


def clean(
    secrets: Namespace,
    selector: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Delete the selected Secrets, and return how many.

    Raises:
        ApiError: the cluster refuses a request.
        TimeoutError: Secrets keep appearing.
    """
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


def clean_hooks(namespace: Namespace, release: str) -> int:
    """Delete what a release's hooks left. Return how many objects."""
    deleted = 0
    for kind, component in (("jobs", "job"), ("pods", "test")):
        selector = f"app.kubernetes.io/instance={release},app.kubernetes.io/component={component}"
        for name in namespace.names(f"app.kubernetes.io/part-of=meshmart,{selector}", kind):
            if name != _OURSELVES:
                namespace.delete(name, kind)
                deleted += 1
    return deleted


def main(arguments: list[str]) -> int:
    """Run the cleanup, and return the exit status."""
    parser = argparse.ArgumentParser(prog="cleanup", description="Deletes what an uninstall leaves.")
    parser.add_argument("--release", required=True)
    parser.add_argument("--secrets", metavar="SELECTOR", default="")
    given = parser.parse_args(arguments)
    try:
        namespace = Namespace.of_this_pod()
        hooks = clean_hooks(namespace, given.release)
        deleted = clean(namespace, given.secrets) if given.secrets else 0
    except (ApiError, TimeoutError) as e:
        sys.stderr.write(f"cleanup: {e}\n")
        return 1
    sys.stdout.write(f"{deleted} Secrets and {hooks} objects of hooks deleted\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
