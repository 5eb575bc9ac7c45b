"""What was started before a fork and is used after it, in the child: an error at once instead of a hang.

gRPC's threads do not exist in a forked child, so a call there would wait for ever. Whatever is started
registers here; in a child each such object is told once, by Python's own fork hook, and refuses from then on.
A call that is made in the process that started the mesh pays nothing for it.
"""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import MutableMapping
from pathlib import Path
from typing import Protocol

_VARIABLE = "GRPC_ENABLE_FORK_SUPPORT"
#: Seconds in which a thread that has just been started has its name.
_NAMING = 0.1
#: What grpc takes for true.
_TRUE = ("1", "t", "true", "y", "yes", "on")


class ForkedProcessError(RuntimeError):
    """The mesh was started in the parent of this process, and cannot be used here."""


class Inheritable(Protocol):
    """Something that a forked child cannot use."""

    def inherited(self, error: ForkedProcessError) -> None:
        """Called in the child: refuse every use from now on with this error."""


_started: weakref.WeakSet[Inheritable] = weakref.WeakSet()
#: The process that had started something when this one was forked from it.
_parent: int | None = None


def register(started: Inheritable) -> None:
    """Take note of what is being started in this process.

    Raises:
        ForkedProcessError: This process was forked from one in which the mesh had been started, and grpc was
            not told to survive that (GRPC_ENABLE_FORK_SUPPORT=1, before its first use).
    """
    if _parent is not None and os.environ.get(_VARIABLE, "").lower() not in _TRUE:
        raise _error(_parent)
    _started.add(started)


def without_fork_handlers(environ: MutableMapping[str, str]) -> str | None:
    """See to it that grpc does nothing when a process is forked from this one.

    uvloop starts subprocesses with `fork`, and grpc's handlers of it corrupt TLS connections in the parent:
    of 1,000 calls that each started a subprocess, 151 failed. grpc reads the variable when it is first used.

    Args:
        environ: `os.environ`.

    Returns:
        What is wrong where it cannot be seen to, or None.
    """
    set_to = environ.get(_VARIABLE)
    if set_to is not None and set_to.lower() not in _TRUE:
        return None
    if set_to is not None:
        return f"{_VARIABLE}={set_to}: a subprocess would corrupt TLS connections; unset it"
    environ[_VARIABLE] = "0"
    if _grpc_in_use():
        return f"grpc was used before run(), which is too late for {_VARIABLE}=0: set it in the environment"
    return None


def _grpc_in_use() -> bool:
    """Return whether grpc's own threads exist: they start with its first channel or server."""
    if len(_threads()) <= threading.active_count():
        return False
    time.sleep(_NAMING)  # a thread gives itself its name once it runs
    return any(name.startswith("event_engine") for name in _threads())


def _threads() -> list[str]:
    names = []
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):
                names.append(Path(f"/proc/self/task/{task}/comm").read_text())
    return names


def _error(parent: int) -> ForkedProcessError:
    return ForkedProcessError(
        f"the mesh was started in process {parent}, and process {os.getpid()} was forked from it: gRPC does "
        "not work there; fork before the mesh starts, or use multiprocessing's `spawn`"
    )


def _in_child() -> None:
    global _parent
    if not _started:
        return
    _parent = os.getppid()
    error = _error(_parent)
    for one in list(_started):
        one.inherited(error)
    _started.clear()


os.register_at_fork(after_in_child=_in_child)
