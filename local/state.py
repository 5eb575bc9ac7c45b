"""The state directory, which outlives the supervisor, and the lock against a second supervisor."""

import fcntl
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from local.errors import ClusterError, describe

# sun_path holds 108 bytes on Linux and 104 on macOS, the final NUL included.
_SOCKET_PATH_LIMIT = 100


class StateDir:
    """The paths in one state directory.

    Args:
        path: The directory, such as `.meshmart`. It need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.ca = self.path / "ca"
        self.certs = self.path / "certs"
        self.keys = self.path / "keys"
        self.logs = self.path / "logs"
        self.data = self.path / "data"
        self.policy = self.path / "policy.toml"
        self.lock = self.path / "lock"
        self.experiment = self.path / "experiment.lock"

    @property
    def socket(self) -> Path:
        """Return the path of the control socket.

        It is elsewhere if the state directory's path is too long for a socket.
        """
        path = self.path / "control.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            return path
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"meshmart-{os.getuid()}-{digest}" / "control.sock"

    def log(self, name: str) -> Path:
        """Return the log file of `product-1`, `supervisor` or `traces`, for example."""
        return self.logs / f"{name}.log"

    def prepare(self) -> None:
        """Create the directories.

        Raises:
            ClusterError: the directory cannot be created or used.
        """
        try:
            for directory in (self.path, self.certs, self.logs, self.data, self.socket.parent):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not all(
                os.access(d, os.W_OK | os.X_OK) for d in (self.path, self.certs, self.logs, self.data)
            ):
                raise ClusterError(f"the state directory {self.path} is not writable")
        except OSError as e:
            raise ClusterError(f"the state directory cannot be used: {describe(e)}") from e
        if self.socket.parent != self.path and self.socket.parent.stat().st_uid != os.getuid():
            raise ClusterError(f"{self.socket.parent} belongs to somebody else")


class Lock:
    """A lock that one process has, such as the only supervisor of a state directory. The kernel releases it
    when the process ends.

    Args:
        path: The file that is locked, such as `StateDir.lock`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self) -> bool:
        """Take the lock. Return False if another process has it.

        Raises:
            ClusterError: the lock file cannot be opened.
        """
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as e:
            raise ClusterError(f"the state directory cannot be used: {describe(e)}") from e
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd
        return True

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def holder(state: StateDir) -> int | None:
    """Return the process id of the running supervisor, or None if none runs."""
    try:
        fd = os.open(state.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(ValueError):
            return int(os.read(fd, 32) or b"0")
        return 0
    finally:
        os.close(fd)
    return None


def write_file(path: Path, content: bytes) -> None:
    """Replace a file atomically, readable only by its owner. If the disk is full, the old file stays."""
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.touch(mode=0o600)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
