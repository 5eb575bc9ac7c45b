"""tools/beside: what it passes on of commands that run side by side, and how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[3] / "tools/beside"


def beside(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([TOOL, *arguments], capture_output=True, text=True, timeout=600)


def test_each_line_starts_with_the_name_of_its_command() -> None:
    done = beside("a", "echo 1; echo 2 >&2", "b", "printf 3")
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["a | 1", "a | 2", "b | 3"])


def test_the_commands_run_at_the_same_time(tmp_path: Path) -> None:
    """Each ends only after the other has started."""
    one, two = tmp_path / "one", tmp_path / "two"
    os.mkfifo(one)
    os.mkfifo(two)
    done = beside("a", f"echo from a > {one}; cat {two}", "b", f"cat {one}; echo from b > {two}")
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, ["a | from b", "b | from a"])


def test_a_failure_fails_it_and_is_shown_again_at_the_end_and_the_others_run_to_their_end() -> None:
    done = beside("bad", "echo wrong; exit 7", "good", "sleep 0.2; echo fine")
    assert done.returncode == 1
    assert "good | fine" in done.stdout
    assert done.stdout.endswith("==> bad failed with exit status 7; its last lines:\nwrong\n")


def test_a_command_stops_at_its_first_failure_also_within_a_pipe() -> None:
    done = beside("a", "false | cat; echo not reached")
    assert (done.returncode, "not reached" in done.stdout) == (1, False)


def test_output_that_is_no_text_is_passed_on() -> None:
    assert beside("a", r"printf 'x\xffy\n'").stdout == "a | x�y\n"


def test_arguments_that_are_no_pairs_are_refused() -> None:
    assert [beside().returncode, beside("a").returncode] == [2, 2]


def test_an_interrupt_reaches_the_commands() -> None:
    """Ctrl-C signals the whole process group."""
    command = f"{sys.executable} -uc 'import signal; print(\"started\"); signal.pause()'"
    running = subprocess.Popen(
        # A shell's background job ignores SIGINT, and so would all that it starts, such as these tests.
        [TOOL, "a", command],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "a | started\n"
    os.killpg(running.pid, signal.SIGINT)
    assert "KeyboardInterrupt" in running.communicate(timeout=600)[0]
    assert running.returncode == 130
