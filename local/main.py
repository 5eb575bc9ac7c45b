"""Runs a supervisor as a program: in the foreground of `meshmart up`, or detached."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from local.catalog import SHOP, Catalog
from local.control import ControlServer
from local.errors import ClusterError, describe
from local.events import Event, Listener
from local.operations import Operations
from local.options import Options
from local.state import Lock, StateDir, holder
from local.supervisor import Supervisor

Make = Callable[[Listener], Supervisor]


def run(options: Options, listener: Listener, catalog: Catalog = SHOP, make: Make | None = None) -> int:
    """Run a cluster until SIGINT, SIGTERM or `meshmart down`.

    Args:
        options: The options of the command line.
        listener: Called with each event, including errors.
        catalog: The services.
        make: Builds the supervisor instead, in tests.

    Returns:
        The exit status: 0 after it was up and was stopped, 1 when it failed, 130 when it was stopped
        before it was up.
    """
    environ = dict(os.environ)
    # The supervisor's own grpc only probes: its processes are spawned beside grpc's threads and never forked,
    # and the end of a probed process is not worth a message.
    os.environ.update({"GRPC_ENABLE_FORK_SUPPORT": "0", "GRPC_VERBOSITY": "NONE"})
    try:
        return asyncio.run(
            _run(options, listener, make or (lambda li: Supervisor(options, catalog, environ, li)))
        )
    except ClusterError as e:
        listener(Event("error", str(e), {"detail": e.detail}))
    except OSError as e:
        listener(Event("error", describe(e), {"detail": ""}))
    return 1


async def _run(options: Options, listener: Listener, make: Make) -> int:
    state = StateDir(options.state_dir)
    supervisor = make(listener)
    state.prepare()
    lock = Lock(state.lock)
    if not lock.acquire():
        raise ClusterError(
            f"a cluster is running in {state.path} already (pid {holder(state)}); meshmart down stops it"
        )
    operations = Operations(supervisor)
    control = ControlServer(state.socket, operations.handle)
    _stop_on_signals(supervisor, listener)
    try:
        await control.start()
        await supervisor.run(
            lambda: listener(Event("ready", operations.status()["storefront"], operations.status()))
        )
    finally:
        await control.aclose()
        lock.release()
    return 0 if supervisor.started else 130


def _stop_on_signals(supervisor: Supervisor, listener: Listener) -> None:
    def stop() -> None:
        if supervisor.stopping.is_set():
            supervisor.kill_all()
        supervisor.stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)


def detached() -> int:
    """Run `python -m local.main OPTIONS FD`: send events to a pipe until the cluster is up or has failed."""
    options, fd = Options.decode(sys.argv[1]), int(sys.argv[2])
    pipe: list[int] = [fd]

    def listen(event: Event) -> None:
        if not pipe:
            return
        with suppress(BrokenPipeError):  # the process that waited has ended; the cluster goes on
            os.write(pipe[0], event.encode())
        if event.kind in ("ready", "error"):
            os.close(pipe.pop())

    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return run(options, listen)


if __name__ == "__main__":
    sys.exit(detached())
