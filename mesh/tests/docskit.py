"""Reads the fenced blocks of the documentation, and runs those of one page in one shell, as its reader."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MESH = Path(__file__).parents[1]
DOCS = MESH / "docs"
PAGES = sorted([*DOCS.glob("*.md"), MESH / "README.md"])
#: Seconds for one block. A machine may be busy with other tests.
TIMEOUT = 240
#: A comment on the line before, the fence with its language and perhaps a file's name, the text.
_BLOCK = re.compile(
    r"(?:^<!-- (?P<comment>.*?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?(?P<more>[^\n]*)\n"
    r"(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
#: A server that a block leaves running.
_BACKGROUND = re.compile(r"(?<!&)&\s*(?:#.*)?$", re.MULTILINE)
#: What a server of a page says once it serves: one of the mesh in its log, others on a line of their own.
_READY = re.compile(r'"msg":"ready"|^ready$|Uvicorn running on', re.MULTILINE)
#: Brings up loopback, which is down in a new network, without the program `ip` (netdevice(7), SIOCSIFFLAGS).
_LOOPBACK_UP = (
    'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 1))'
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its place, its language, the file that it is, the comment before it, and its text."""

    page: str
    line: int
    language: str
    title: str
    comment: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page. Raises ValueError if a fence is not understood."""
    text, found = page.read_text(), []
    for match in _BLOCK.finditer(text):
        at = match.start("indent")
        found.append(
            Block(
                page.relative_to(MESH).as_posix(), text.count("\n", 0, at) + 1, match["language"],
                match["title"] or "", match["comment"] or "", match["text"],
            )
        )  # fmt: skip
    fences = len(re.findall(r"^ *(?:```|~~~)", text, re.MULTILINE))
    if fences != 2 * len(found) or any(match["more"] for match in _BLOCK.finditer(text)):
        raise ValueError(f"{page}: a fence that is not closed, or has more than a language and a title")
    return found


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a block of the language `console`, and the output that is shown below it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = f"{command}\n{more.removeprefix('> ')}"
        yield command, output


class Session:
    """A shell in a directory and a network of its own, in which the blocks of one page are run in order.

    In its network (`unshare --net`) only the page's own processes are on loopback, so that blocks may use
    fixed ports.
    """

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self.directory, self._count, self._started = directory, 0, 0
        self._shell = subprocess.Popen(
            ["unshare", "--map-root-user", "--net", "bash", "--norc"],
            cwd=directory, env=dict(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.run(f"set -o pipefail; python -c '{_LOOPBACK_UP}'")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.killpg(self._shell.pid, 9)
        self._shell.communicate()

    def run(self, text: str, *, check: bool = True) -> str:
        """Run commands in the shell, wait for the servers that they start, and return the standard output.

        With `check`, AssertionError is raised if a command fails that stands alone (`set -e`).
        """
        self._count += 1
        out, err = (self.directory / f"{self._count}.{name}" for name in ("out", "err"))
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        strict = "set -e" if check else "set +e"
        self._shell.stdin.write(
            f"{{ {strict}\n{text}\nset +e; }} </dev/null >{out.name} 2>{err.name}; echo\n"
        )
        self._shell.stdin.flush()
        # A shell that left, because a command failed, has closed its output; so has none that was stuck.
        done = self._answered()
        told = f"{text}\n{out.read_text()}\n{err.read_text()}"
        assert done, f"failed: {told}"
        self._started += len(_BACKGROUND.findall(text))
        self._await_servers()
        return out.read_text()

    def _answered(self) -> bool:
        ready, _, _ = select.select([self._shell.stdout], [], [], TIMEOUT)
        return bool(ready) and self._shell.stdout.readline() == "\n"

    def _await_servers(self) -> None:
        """Wait until all servers that the page has started serve. They log to `*.err`, `*.out` or `*.log`."""
        end = time.monotonic() + TIMEOUT
        while len(_READY.findall(told := self._told())) < self._started:
            assert "Traceback" not in told, told
            assert time.monotonic() < end, told
            time.sleep(0.05)

    def _told(self) -> str:
        logs = (each for each in self.directory.iterdir() if each.suffix in (".err", ".out", ".log"))
        return "\n".join(each.read_text() for each in logs)


def environment() -> dict[str, str]:
    """Return the environment of a reader: this interpreter as `python`, and no settings of the mesh.

    Only the time that a call may take is longer than a reader's, for machines that are busy with other tests.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "OTEL_", "PYTHON", "PYTEST"))}
    path = f"{Path(sys.executable).parent}:{clean['PATH']}:/usr/sbin:/sbin"
    return clean | {"PATH": path, "MESH_DEADLINE_DEFAULT": str(TIMEOUT), "PIP_NO_INDEX": "1"}


def same(shown: str, printed: str, *, numbers: bool = False) -> bool:
    """Return whether an output is what a page shows. `…` stands for anything in a line.

    Args:
        numbers: Whether numbers differ from run to run.
    """
    pattern = re.escape(shown.rstrip("\n")).replace("…", "[^\n]*")
    if numbers:
        pattern = re.sub(r"\d+", r"\\d+", pattern)
    return re.fullmatch(pattern, printed.rstrip("\n")) is not None
