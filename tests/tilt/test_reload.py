"""The program that runs a service under Tilt."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RELOAD = Path(__file__).parents[2] / "tilt" / "reload.py"
#: Says its number, and that it was asked to end before it does.
PATIENT = """
import os, signal, sys
def end(*_):
    print("asked", flush=True)
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
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=directory, env={"PYTHONPATH": str(directory / "copy")}
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def test_a_hangup_lets_the_program_end_in_its_own_way_and_starts_it_anew(tmp_path: Path) -> None:
    with reloaded(tmp_path, "-c", PATIENT) as running:
        first = int(running.stdout.readline())
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
