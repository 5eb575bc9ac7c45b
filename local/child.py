"""Starts a program that dies with its parent.

    python -m local.child PARENT_PID (-m MODULE | PROGRAM) ARGUMENTS…

The supervisor cleans up by itself; this is for the case that it is killed and cannot.
"""

import os
import runpy
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have this process killed when `parent` ends.

    Args:
        parent: The parent's process id. It is checked afterwards, because the parent may have ended before.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main() -> None:
    parent, arguments = int(sys.argv[1]), sys.argv[2:]
    die_with(parent)
    if arguments[0] != "-m":
        os.execv(arguments[0], arguments)
    sys.argv = arguments[1:]
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
