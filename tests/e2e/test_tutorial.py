"""docs/add-a-service.md, from its first command to its last, on a copy of this checkout.

A reader's shell runs each command of the blocks `sh` and `console`. A block with `title="PATH"` is written
to that file; one of the language `diff` is applied to it. What a `console` block shows is compared with what
is printed; `…` stands for anything in a line. The page's tests run here on SQLite only: `make test` of a
reader takes PostgreSQL, too.
"""

import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshmart.scaffold.files import GENERATED

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/add-a-service.md"
#: Seconds for one command, as a guard against a hang, and for one call: the machine may be busy.
PATIENCE, CALL_TIMEOUT = 600, 300
_BLOCK = re.compile(
    r"(?:^<!-- (?P<comment>.*?) -->\n)?"
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
#: Commands that change nothing. They are repeated: what they show may need a moment on a busy machine.
LOOKS = ("curl ", "meshmart status", "meshmart call ecommerce.ReviewService/Get")
#: What the calling service needs.
CALLER = re.compile(
    r"services/storefront/|tests/unit/services/storefront/|tests/integration/.*/storefrontkit.py"
)
#: Brings up loopback, which is down in a new network (netdevice(7), SIOCSIFFLAGS).
_LOOPBACK_UP = (
    'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 1))'
)


@dataclass(frozen=True)
class Block:
    """One fenced block: the comment before it, its language, the file that it is for, and its text."""

    comment: str
    language: str
    title: str
    text: str


def blocks() -> list[Block]:
    text = PAGE.read_text()
    found = [
        Block(m["comment"] or "", m["language"], m["title"] or "", m["text"]) for m in _BLOCK.finditer(text)
    ]
    assert 2 * len(found) == len(re.findall(r"^ *(?:```|~~~)", text, re.MULTILINE))
    return found


def commands(block: Block) -> Iterator[tuple[str, str | None]]:
    """Yield each command of a block, and the output that is shown below it."""
    if block.language == "sh":
        yield from ((line, None) for line in block.text.splitlines())
        return
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def same(shown: str, printed: str) -> bool:
    pattern = re.escape(shown.strip()).replace("…", "[^\n]*")
    return re.fullmatch(pattern, printed.strip()) is not None


class Reader:
    """A reader's shell in a copy of the checkout, and in a network of its own, so that ports are free."""

    def __init__(self, root: Path) -> None:
        self.root = root
        environ = {
            k: v for k, v in os.environ.items() if not k.startswith(("MESH", "OTEL_", "PYTEST", "MAKE"))
        }
        environ |= {
            "PATH": f"{root}/.venv/bin:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(str(root / name) for name in ("", "mesh/src", "protos")),
            "PYTEST_ADDOPTS": "-p no:cacheprovider -k 'not postgresql'",
            "MESH_DEADLINE_DEFAULT": str(CALL_TIMEOUT),  # the machine may be busy
            "PIP_NO_INDEX": "1",
        }
        self._shell = subprocess.Popen(
            ["unshare", "--map-root-user", "--net", "bash", "--norc"],
            cwd=root, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.done(f"python -c '{_LOOPBACK_UP}'")

    def run(self, command: str) -> tuple[int, str]:
        """Run a command. Return its exit status and what it printed."""
        out = self.root / ".venv/out"
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}\n}} </dev/null >{out} 2>&1; echo $?\n")
        self._shell.stdin.flush()
        ready, _, _ = select.select([self._shell.stdout], [], [], PATIENCE)
        assert ready, f"{command} takes longer than {PATIENCE} s: {out.read_text()}"
        return int(self._shell.stdout.readline()), out.read_text()

    def done(self, command: str) -> str:
        """Run a command that succeeds. Return what it printed."""
        if command.startswith("meshmart up"):  # the replicas have the shop's own deadlines
            command = f"env -u MESH_DEADLINE_DEFAULT {command}"
        status, printed = self.run(command)
        assert status == 0, f"{command}: {printed}"
        return printed

    def sees(self, command: str, shown: str) -> None:
        """Run a command that prints what is shown; one that only looks, until it does."""
        end = time.monotonic() + PATIENCE
        # Only the time that a call may take is longer than a reader's.
        patient = command.replace("meshmart call ", f"meshmart call --timeout {CALL_TIMEOUT}s ")
        while True:
            status, printed = self.run(patient)
            if same(shown, printed) and (status == 0) != shown.startswith("meshmart: "):
                return
            assert command.startswith(LOOKS), f"{command}: {printed}"
            assert time.monotonic() < end, f"{command}: {printed}"

    def close(self) -> None:
        """Stop the shop, if the page left it running, and the shell."""
        try:
            self.run("[ ! -e .meshmart ] || meshmart down")
        finally:
            os.killpg(self._shell.pid, 9)
            self._shell.communicate()


def copied(root: Path) -> None:
    """Copy the checkout as a clone has it, with this environment's packages as its `.venv`."""
    listed = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name, follow_symlinks=False)
    (root / ".venv").mkdir()
    for name in ("bin", "lib", "lib64", "include", "pyvenv.cfg"):
        if (Path(sys.prefix) / name).exists():
            (root / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    # The stamps of `make setup-dev`, from tomorrow: make would install the packages again, from the network,
    # because the scaffold changes pyproject.toml.
    tomorrow = time.time() + 86_400
    for stamp in (".run", ".dev"):
        (root / ".venv" / stamp).touch()
        os.utime(root / ".venv" / stamp, (tomorrow, tomorrow))


def files(root: Path) -> dict[str, bytes]:
    """Return the files of a checkout that are not ignored by Git."""
    ignored = {".venv", ".meshmart", "__pycache__", ".hypothesis"}
    found = (path for path in root.rglob("*") if path.is_file())
    relative = ((path, path.relative_to(root)) for path in found)
    return {str(name): path.read_bytes() for path, name in relative if not ignored & set(name.parts)}


@pytest.fixture
def reader() -> Iterator[Reader]:
    allowed = subprocess.run(["unshare", "--map-root-user", "--net", "true"], capture_output=True, text=True)
    if allowed.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(allowed.stderr)
        pytest.skip(f"no network namespace of its own: {allowed.stderr}")
    # Not tmp_path: a socket's path is at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="tutorial-") as root:
        copied(Path(root))
        reader = Reader(Path(root))
        try:
            yield reader
        finally:
            reader.close()


def follow(reader: Reader, block: Block) -> None:
    """Do what a reader does with one block."""
    path = reader.root / block.title
    if block.language == "diff":
        (reader.root / ".venv/patch").write_text(block.text)
        reader.done(f"patch --no-backup-if-mismatch -F0 {block.title} .venv/patch")
    elif block.title:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    else:
        for command, shown in commands(block):
            if shown is None:
                reader.done(command)
            else:
                reader.sees(command, shown)


def left_out(block: Block) -> bool:
    """Return whether a block needs what a laptop may lack: a program, which CI has, or a Kubernetes."""
    if block.comment == "needs Kubernetes":
        return True
    return block.comment == "needs Helm" and not shutil.which("helm") and not os.environ.get("CI")


def test_the_tutorial_runs_as_it_is_written(reader: Reader) -> None:
    before = files(reader.root)
    for block in blocks():
        if not left_out(block):
            follow(reader, block)
    after = files(reader.root)
    touched = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    ours = {name for name in touched if "review" in name or name in GENERATED}
    # By hand, outside of the service's own files: only what the service needs that calls it.
    assert [name for name in sorted(touched - ours) if not CALLER.match(name)] == []


def test_a_block_is_one_that_is_followed() -> None:
    assert [b for b in blocks() if not b.title and b.language not in ("sh", "console")] == []
    assert {b.comment for b in blocks()} == {"", "needs Helm", "needs Kubernetes"}
