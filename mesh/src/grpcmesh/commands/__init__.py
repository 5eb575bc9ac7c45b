"""The verbs of `python -m grpcmesh`, one module each.

May be imported by `grpcmesh.__main__`, `meshmart.doctor`, `meshmart.kubernetes`. Start reading in `config`.
"""

import sys
from collections.abc import Iterable

#: Exit status if the settings are wrong, and for any other failure.
EX_CONFIG, EX_FAILED = 2, 1


def say(line: str = "") -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")


def fail(problems: Iterable[str], status: int = EX_FAILED) -> int:
    """Write a line for each problem to standard error. Return the exit status."""
    for problem in problems:
        sys.stderr.write(f"grpcmesh: {problem}\n")
    return status
