"""Makes a started mesh raise an error, instead of hanging, in a forked child process.

gRPC's threads do not exist in a forked child, so a call there would wait for ever. Each object that is
started registers here. In a child, Python's fork hook notifies these objects, and they refuse every use from
then on. Calls in the process that started the mesh have no extra cost.
"""

import os
import weakref
from typing import Protocol

from grpcmesh.grpc_environment import fork_handlers_wanted


class ForkedProcessError(RuntimeError):
    """Raised if the mesh was started in the parent of this process, and so cannot be used here."""


class Inheritable(Protocol):
    """An object that a forked child cannot use."""

    def inherited(self, error: ForkedProcessError) -> None:
        """Refuse every use from now on with this error. Called in the child process."""


_started: weakref.WeakSet[Inheritable] = weakref.WeakSet()
#: The id of the parent process, if it had started something when this process was forked from it.
_parent: int | None = None


def register(started: Inheritable) -> None:
    """Register an object that is being started in this process.

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
