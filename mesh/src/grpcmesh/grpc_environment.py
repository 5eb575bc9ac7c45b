"""Variables that gRPC reads once, when it is imported. Importing this module sets them, if it is in time.

`GRPC_SSL_CIPHER_SUITES` is the only way from Python to TLS 1.3: it names the suites of TLS 1.2, and those of
TLS 1.3 stay whatever it says. It holds for the whole process, also for channels that are none of the mesh.
`GRPC_ENABLE_FORK_SUPPORT=0` keeps grpc from doing anything when the process forks. uvloop starts subprocesses
with `fork`, and what grpc then does corrupts TLS connections of the parent: of 1,000 calls that each started
a subprocess, 151 failed.

What the environment says already is left alone.
"""

import multiprocessing
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Final, NoReturn

FORK_SUPPORT: Final = "GRPC_ENABLE_FORK_SUPPORT"
#: What grpc takes for true.
_TRUE = frozenset({"1", "t", "true", "y", "yes", "on"})
CIPHER_SUITES: Final = "GRPC_SSL_CIPHER_SUITES"
#: A suite that needs a pre-shared key, which nobody here has: no TLS below 1.3 can be negotiated.
TLS13_ONLY: Final = "ECDHE-PSK-CHACHA20-POLY1305"


def prepare(environ: MutableMapping[str, str], imported: bool) -> bool:
    """Ask for TLS 1.3 only, and for no fork handlers.

    Args:
        environ: Of the process.
        imported: Whether gRPC has been imported: then it has read its variables.

    Returns:
        Whether handshakes with an older TLS fail in this process. Otherwise a server refuses the calls.
    """
    if not imported:
        environ.setdefault(CIPHER_SUITES, TLS13_ONLY)
        environ.setdefault(FORK_SUPPORT, "0")
    return environ.get(CIPHER_SUITES) == TLS13_ONLY


def fork_handlers_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether the environment asks grpc to do something when the process forks."""
    return environ.get(FORK_SUPPORT, "").lower() in _TRUE


def restart_if_too_late(environ: MutableMapping[str, str]) -> str | None:
    """See to it, at the start of a program, that grpc has no fork handlers.

    Where gRPC was imported before this module, it has read its variables: the program is started again, in
    the same process, with the variables set. Nothing runs twice but imports.

    Args:
        environ: `os.environ`.

    Returns:
        What is wrong where that cannot be; None where all is well.
    """
    if fork_handlers_wanted(environ):
        return f"{FORK_SUPPORT}={environ[FORK_SUPPORT]}: a subprocess would corrupt TLS connections; unset it"
    if FORK_SUPPORT in environ:
        return None
    again = sys.orig_argv[1:]
    if again[:1] in ([], ["-"]) or multiprocessing.parent_process() is not None:
        return f"grpc was imported before grpcmesh.runtime; set {FORK_SUPPORT}=0 in the environment"
    prepare(environ, imported=False)
    return _restart(again, environ)


def _restart(arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *arguments], dict(environ))


#: Whether it holds for this process.
tls13_only: Final = prepare(os.environ, "grpc._cython.cygrpc" in sys.modules)
