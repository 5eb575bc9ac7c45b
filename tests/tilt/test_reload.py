"""The program that runs a service under Tilt."""

import runpy
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RELOAD = Path(__file__).parents[2] / "tilt" / "reload.py"
FUNCTIONS = runpy.run_path(str(RELOAD))
#: Says its number, and that it was asked to end before it does.
PATIENT = """
import os, signal, sys
def end(*_):
    os.write(1, b"asked" + os.linesep.encode())  # print may be at it, and cannot be entered twice
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print(os.getpid(), flush=True)
signal.pause()
"""


@contextmanager
def reloaded(directory: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """The reloader, from the directory's `image` to its `copy`."""
    (directory / "image").mkdir(exist_ok=True)
    command = [sys.executable, RELOAD, directory / "image", directory / "copy", *arguments]
    environment = {"PYTHONPATH": str(directory / "copy"), "PYTHONDONTWRITEBYTECODE": "1"}  # as in the image
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=directory, env=environment)
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def test_a_hangup_lets_the_program_end_in_its_own_way_and_starts_it_anew(tmp_path: Path) -> None:
    with reloaded(tmp_path, "-c", PATIENT) as running:
        first = int(running.stdout.readline())
        (tmp_path / "copy" / "edited.py").touch()
        running.send_signal(signal.SIGHUP)
        assert running.stdout.readline() == "asked\n"
        second = int(running.stdout.readline())
        assert second != first
        assert not Path(f"/proc/{first}").exists()
        running.terminate()
        assert running.stdout.readline() == "asked\n"
        assert running.wait(timeout=30) == 0


def test_it_ends_as_its_program_ends(tmp_path: Path) -> None:
    with reloaded(tmp_path, "-c", "raise SystemExit(3)") as running:
        assert running.wait(timeout=30) == 3


def test_a_killed_program_is_told_as_a_shell_tells_it(tmp_path: Path) -> None:
    with reloaded(tmp_path, "-c", "import os; os.kill(os.getpid(), 9)") as running:
        assert running.wait(timeout=30) == 128 + signal.SIGKILL


def test_an_edit_of_the_copy_is_what_runs_next_and_outlives_the_container(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "program.py").write_text(
        "import signal\nprint('built', flush=True)\nsignal.pause()\n"
    )
    with reloaded(tmp_path, "-m", "program") as running:
        assert running.stdout.readline() == "built\n"
        (tmp_path / "copy" / "program.py").write_text("print('edited', flush=True)\n")
        running.send_signal(signal.SIGHUP)
        assert running.stdout.readline() == "edited\n"
        assert running.wait(timeout=30) == 0
    with reloaded(tmp_path, "-m", "program") as running:
        assert running.stdout.readline() == "edited\n"


def shop(directory: Path) -> Path:
    """An image of two services and of what both stand on; returns where the copy will be."""
    for path in ("order/main.py", "product/main.py", "kit/db.py"):
        file = directory / "image" / "services" / path
        file.parent.mkdir(parents=True)
        file.write_text(PATIENT)
    return directory / "copy"


def test_an_edit_of_another_service_lets_the_program_be(tmp_path: Path) -> None:
    copy = shop(tmp_path)
    with reloaded(tmp_path, "-m", "services.order.main") as running:
        running.stdout.readline()
        (copy / "services" / "product" / "main.py").write_text("another's")
        running.send_signal(signal.SIGHUP)
        assert not select.select([running.stdout], [], [], 1)[0]
        (copy / "services" / "kit" / "db.py").write_text("everybody's")
        running.send_signal(signal.SIGHUP)
        assert running.stdout.readline() == "asked\n"


@pytest.mark.parametrize(
    ("program", "edited", "concerned"),
    [
        ("services.order.main", "services/order/main.py", True),
        ("services.order.main", "services/order/new.py", True),
        ("services.order.main", "services/kit/db.py", True),
        ("services.order.main", "mesh/__init__.py", True),
        ("services.order.main", "services/product/main.py", False),
        ("services.order.main", "services/product/new.py", False),
        ("meshmart.toolbox", "services/product/main.py", True),
        ("services.migrate", "services/product/main.py", True),
    ],
)
def test_what_concerns_a_program_is_all_but_the_other_services(
    tmp_path: Path, program: str, edited: str, concerned: bool
) -> None:
    copy = shop(tmp_path)
    FUNCTIONS["fill"](str(tmp_path / "image"), str(copy))
    before = FUNCTIONS["sources"](str(copy), ("-m", program))
    (copy / edited).parent.mkdir(exist_ok=True)
    (copy / edited).write_text("edited")
    assert (FUNCTIONS["sources"](str(copy), ("-m", program)) != before) is concerned
