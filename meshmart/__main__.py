"""The `meshmart` command."""

import sys

from local.errors import ClusterError, describe
from meshmart.errors import CommandError
from services.manifest import ManifestError


def main() -> None:
    """Run the command.

    The exit status is 0 for success, 1 for a failure, 2 for a command line that is not valid.
    """
    try:
        # Inside, because the modules of the verbs read the manifests of the services.
        from meshmart.verbs import app

        app()
    except ClusterError as e:
        _fail(str(e), e.detail)
    except (CommandError, ManifestError) as e:
        _fail(str(e))
    except OSError as e:
        _fail(describe(e))


def _fail(problem: str, detail: str = "") -> None:
    if detail:
        sys.stderr.write(detail.rstrip() + "\n")
    sys.stderr.write(f"meshmart: {problem}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
