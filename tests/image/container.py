"""Runs the image as a restricted pod runs it: a read-only root, no capabilities, an empty /tmp; by runc."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

USER = 65532
#: Seconds, for a machine that is busy otherwise.
TIMEOUT = 120.0
_DEVICES = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
]


class Container:
    """A container of the image, in a network of its own that has only a loopback.

    Args:
        bundle: A folder for its configuration; its name is the container's.
        root: The unpacked image.
        environment: Variables.
        mounts: Folders of this machine by their place in the container, read-only unless it is /data.
    """

    def __init__(
        self,
        bundle: Path,
        root: Path,
        environment: Mapping[str, str],
        mounts: Mapping[str, Path] | None = None,
    ) -> None:
        self._bundle, self._root, self._environment = bundle, root, dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        bundle.mkdir(parents=True)
        # These two come from the kubelet; no name server answers here.
        (bundle / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (bundle / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        self._mounts = {
            "/etc/hosts": bundle / "hosts",
            "/etc/resolv.conf": bundle / "resolv.conf",
            **(mounts or {}),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs `python ARGUMENTS` to its end."""
        self._configure(arguments)
        return self._runc("run", "--bundle", str(self._bundle), self._bundle.name)

    @contextmanager
    def running(self, *arguments: str) -> Iterator["Container"]:
        """Runs `python ARGUMENTS` for the block, then sends SIGTERM and expects a clean exit."""
        self._configure(arguments)
        with (self._bundle / "log").open("w") as log:
            self._process = process = subprocess.Popen(
                [*self._command(), "run", "--bundle", self._bundle, self._bundle.name],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield self
            assert process.poll() is None, self.log
            self._runc("kill", self._bundle.name, "TERM")
            assert process.wait(TIMEOUT) == 0, self.log
        finally:
            self._runc("delete", "--force", self._bundle.name)
            process.wait(TIMEOUT)

    def inside(self, program: str) -> subprocess.CompletedProcess[str]:
        """Runs a Python program beside what runs already."""
        return self._runc("exec", self._bundle.name, "python", "-c", program)

    def until(self, program: str) -> None:
        """Returns when the Python program succeeds inside."""
        give_up = time.monotonic() + TIMEOUT
        while (done := self.inside(program)).returncode:
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > give_up:
                raise AssertionError(f"{done.stderr}\n{self.log}")
            time.sleep(0.5)

    @property
    def log(self) -> str:
        return (self._bundle / "log").read_text()

    def _configure(self, arguments: Sequence[str]) -> None:
        binds = [
            {"destination": at, "source": str(path), "type": "bind", "options": ["bind", _mode(at)]}
            for at, path in self._mounts.items()
        ]
        kinds = ("pid", "ipc", "uts", "mount", "network")
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": USER, "gid": USER},
                "args": ["python", *arguments],
                "env": [f"{key}={value}" for key, value in self._environment.items()],
                "cwd": "/tmp",
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "root": {"path": str(self._root), "readonly": True},
            "mounts": [*_DEVICES, *binds],
            "linux": {"namespaces": [{"type": kind} for kind in kinds]},
        }
        (self._bundle / "config.json").write_text(json.dumps(config))

    def _runc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command(), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )

    def _command(self) -> list[str]:
        return ["runc", "--root", str(self._bundle.parent / "runc")]


def _mode(destination: str) -> str:
    return "rw" if destination == "/data" else "ro"
