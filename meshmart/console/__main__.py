"""`python -m meshmart.console --http HOST:PORT --state-dir DIRECTORY`: the console of a running cluster."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from local.options import DEFAULT_STATE_DIR
from meshmart.console.server import serve


def main() -> int:
    """Parse the command line and serve. Exit status 1: the port or the origin cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m meshmart.console", description=__doc__)
    parser.add_argument("--http", default="127.0.0.1:8081", help="address of the page")
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=DEFAULT_STATE_DIR,
        help="state directory of the embedded cluster; the log of actions is in it",
    )
    parser.add_argument(
        "--origin",
        default=os.environ.get("MESHMART_CONSOLE_ORIGIN", ""),
        help="origin of the page behind a reverse proxy, such as https://console.example.org",
    )
    parser.add_argument(
        "--login",
        action="store_true",
        help="show the console only to admins of the shop who have logged in (see docs/console.md)",
    )
    parser.add_argument("--look-only", action="store_true", help="refuse every action, also an admin's")
    options = parser.parse_args()
    try:
        asyncio.run(
            serve(
                options.http,
                options.state_dir,
                origin=options.origin,
                login=options.login,
                look_only=options.look_only,
            )
        )
    except (OSError, ValueError) as e:
        sys.stderr.write(f"console: {e}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
