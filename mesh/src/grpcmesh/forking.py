"""What was started before a fork and is used after it, in the child: an error at once instead of a hang.

gRPC's threads do not exist in a forked child, so a call there would wait for ever. Whatever is started
registers here; in a child each such object is told once, by Python's own fork hook, and refuses from then on.
A call that is made in the process that started the mesh pays nothing for it.
"""

import os
import weakref
from typing import Protocol

from grpcmesh.grpc_environment import fork_handlers_wanted


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
    if _parent is not None and not fork_handlers_wanted(os.environ):
        raise _error(_parent)
    _started.add(started)


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
