"""Programs that the tests call and Python does not bring."""

import os
import shutil

import pytest


def need(program: str) -> None:
    """Skips where the program is not installed, but never on CI."""
    if shutil.which(program):
        return
    problem = f"{program} is not installed"
    if os.environ.get("CI"):
        pytest.fail(problem)
    pytest.skip(problem)
